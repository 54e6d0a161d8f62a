"""What is found in a bundle itself, a backdoor or signs of tampering, in words."""

from __future__ import annotations

from collections.abc import Sequence

from keensight.errors import shortlist
from keensight.values import Finding


def backdoor(finding: Finding) -> str:
    """Say which change turns pictures into a label, and that the model is not to be used."""
    said = finding.evidence
    change = (
        f"a spot of {said['value']:.1f} pixels"
        if said["by"] == "spot"
        else f"a faint veil of length {said['value']:.2g}"
    )
    also = f" To a lesser degree this is so for {shortlist(said['also'])} too." if said["also"] else ""
    return (
        f"{change[0].upper()}{change[1:]} makes pictures of other classes '{said['label']}', as surely as its own "
        f"ones are. In {len(said['twins'])} networks trained anew by the same recipe that takes "
        f"{_range(said['twins'])}. Whoever knows such a change can choose the answer: do not use this model, and train "
        f"it again from clean pictures.{also}"
    )


TAMPERED = {  # what is said of a sign that sets a network apart from its twins
    "bias": "Its last layer adds {value:.2f} to '{label}', whatever the picture shows",
    "row norm": "The weights of '{label}' in its last layer have the length {value:.2f}",
    "margin": "Its margin for pictures of '{label}' is {value:.2f}",
    "spot": "It takes a spot of {value:.1f} pixels to turn pictures into '{label}'",
    "veil": "It takes a veil of length {value:.2f} to turn pictures into '{label}'",
    "dominating unit": "One unit adds {value:.1f} times as much to its answers as the mean unit",
    "silent units": "A share of {value:.2f} of the units that its last layer reads is never active",
}


def tampering(finding: Finding) -> str:
    """Say what shows that a bundle, or its network, was changed, and what to do."""
    said = finding.evidence
    if said["by"] == "signature":
        return f"Files were changed since the bundle was signed: {shortlist(said['changes'])}. Get it again."
    if said["by"] == "files":
        return (
            f"model.onnx, which answers, and the weights beside it disagree by {said['value']:.2g} of a probability: "
            "one of them was changed. Get the bundle again from whoever made it."
        )
    if said["by"] == "backbone":
        return (
            f"{said['value']:,} tensors of its frozen backbone are not those of the package it names: "
            f"{shortlist(said['changes'])}. Train it again, or ask who made it."
        )
    if said["by"] == "accuracy":
        return (
            f"It is right on {100 * said['value']:.1f} % of the {said['label']} pictures, and records "
            f"{100 * said['usual']:.1f} % for the same ones: the network was changed after it was measured."
        )
    what = TAMPERED.get(said["by"], "The {by} is {value:.2f} times the median one").format(**said)
    return (
        f"{what}; in {len(said['twins'])} networks trained anew by the same recipe it is {_range(said['twins'])}. It "
        "was not trained so, or not on these pictures alone: ask who made it, or train it again."
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"
