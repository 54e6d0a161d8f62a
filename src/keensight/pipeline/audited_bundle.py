"""The audit of a bundle: its files beside each other, its recorded numbers, and its network beside clean twins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from keensight.bundle.network import is_own, network_of, recipe_of
from keensight.bundle.read import Bundle, read_bundle
from keensight.care.backdoor import LEAST_TWINS, findings_about
from keensight.care.backdoor_search import Trigger
from keensight.care.backdoor_signs import Signs, signs_of
from keensight.care.backdoor_twins import twins
from keensight.data.cache import decode, fingerprint
from keensight.data.splits import split
from keensight.errors import KeensightError
from keensight.evaluation.calibration import softmax
from keensight.inference.predictor import Predictor
from keensight.models.classifier import Classifier
from keensight.models.tensors import to_images
from keensight.models.transfer import Transfer
from keensight.pipeline.budget import Budget
from keensight.pipeline.labelled import known_splits, open_for, part_of
from keensight.pipeline.parity import TOLERANCE, drawn
from keensight.pipeline.watch import Watcher
from keensight.training.trainers import fresh
from keensight.values import Finding, Pixels, Splits, Uint8Array
from keensight.workspace import RunFolder

LISTED = 0.9  # how sure it is where the pictures are those of the run's list, which anyone may have edited
SHOWN = 6  # pictures with a trigger
MOST_SHIFT = 0.002  # of an accuracy: what other hardware may change, and two pictures


@dataclass(slots=True)
class BundleAudit:
    """What an audit of a bundle found and looked at. `notes` say what was not looked at, and why."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_pictures: int = 0
    num_twins: int = 0
    splits: Splits | None = None
    triggers: tuple[Trigger, ...] = ()

    def shown(self, finding: Finding) -> tuple[tuple[Uint8Array, Uint8Array], ...]:
        """Return a few pictures without and with the trigger that a finding is about, uint8 HWC."""
        if finding.kind != "backdoor" or self.splits is None:
            return ()
        target = self.splits.class_names.index(finding.evidence["label"])
        (trigger,) = (each for each in self.triggers if (each.kind, each.target) == (finding.evidence["by"], target))
        others = self.splits.val.take(np.flatnonzero(self.splits.val.labels != target)).thinned(SHOWN).gather()
        changed = trigger.on(to_images(others, torch.device("cpu"))).permute(0, 2, 3, 1)
        return tuple(zip(others, (255 * changed).round().byte().numpy(), strict=True))


def audit_bundle(
    path: Path,
    against: str | Path | None,
    num_twins: int,
    budget: Budget,
    label_pattern: str | None,
    watcher: Watcher,
) -> BundleAudit:
    """Audit the bundle at `path` with the pictures it was trained on: `against`, or those of the run around it.

    Raises BundleError if it is not a bundle, DataError if the pictures cannot be used or have labels unknown to it.
    """
    bundle = read_bundle(path, though_changed=True)
    watcher.opened(bundle)
    audit = BundleAudit(bundle.name)
    if bundle.changes:
        audit.findings.append(Finding("tampering", evidence={"by": "signature", "changes": list(bundle.changes)}))
    if bundle.is_signed:
        audit.looked.append("its files and the signature on them")
    predictor = Predictor(bundle)
    model = _model(bundle, audit)
    if model is not None:
        watcher.stage("comparing the bundle's files")
        audit.findings += _files_differ(model, predictor, audit)
        audit.findings += _backbone_differs(model, bundle, audit)
    data = against if against is not None else _own_pictures(bundle)
    if data is None:
        audit.notes.append(
            "No pictures were given, and the bundle is not in its run's folder: triggers, recorded accuracy and clean "
            "twins were not looked at. Give the pictures that it was trained on with --against DATA."
        )
        return audit
    dataset = open_for(data, [bundle], label_pattern)
    pixels = decode(dataset, bundle.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    audit.num_pictures = len(pixels.dataset.samples)
    audit.splits = splits = _splits(pixels, bundle, audit)
    audit.findings += _accuracy_differs(predictor, pixels, splits, against is None, audit)
    if model is not None:
        _beside_twins(model, bundle, splits, num_twins, budget, audit, watcher)
    return audit


def _model(bundle: Bundle, audit: BundleAudit) -> Classifier | None:
    try:
        return network_of(bundle)
    except KeensightError as error:
        audit.notes.append(f"Its network cannot be opened, so only its answers were looked at. {error}")
        return None


def _own_pictures(bundle: Bundle) -> Path | None:
    run = RunFolder(bundle.path.absolute().parent)
    return run.splits if run.splits.is_file() and run.data.is_file() else None


def _files_differ(model: Classifier, predictor: Predictor, audit: BundleAudit) -> Iterator[Finding]:
    """Compare the answers of model.onnx with those of the weights beside it: a thief may have changed only one."""
    bundle = predictor.bundle
    if bundle.info.quantised:
        audit.notes.append("Its network answers with 8-bit weights, which were not compared with the exact ones.")
        return
    pictures = np.stack(drawn(bundle.preprocessing))
    with torch.no_grad():
        logits_NK = model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).numpy()
    differ_N = np.abs(
        softmax(logits_NK / bundle.info.temperature) - predictor.probabilities_as_seen(pictures)
    ).max(axis=1)  # fmt: skip
    audit.looked.append("whether model.onnx answers as the weights beside it")
    if not float(differ_N.max()) <= 10 * TOLERANCE:
        yield Finding("tampering", evidence={"by": "files", "value": round(float(differ_N.max()), 4)})


def _backbone_differs(model: Classifier, bundle: Bundle, audit: BundleAudit) -> Iterator[Finding]:
    """Compare a frozen backbone with the package that it came from."""
    network = model.network
    if not isinstance(network, Transfer) or not network.is_frozen or bundle.info.recipe is None:
        return
    try:
        other = fresh(recipe_of(bundle).having(weights=""), bundle.preprocessing, bundle.labels).network
    except KeensightError:
        audit.notes.append("Its backbone's package is not installed here, so the backbone was not compared with it.")
        return
    audit.looked.append("whether its frozen backbone is that of the package")
    own, theirs = network.backbone.state_dict(), other.backbone.state_dict()  # type: ignore[union-attr]
    if changed := [name for name, tensor in own.items() if not torch.equal(tensor, theirs[name])]:
        yield Finding("tampering", evidence={"by": "backbone", "changes": changed[:20], "value": len(changed)})


def _splits(pixels: Pixels, bundle: Bundle, audit: BundleAudit) -> Splits:
    """Return the splits of the bundle's training, or others where these pictures are not those."""
    names = known_splits(pixels, bundle)
    parts = {name: part_of(pixels, np.flatnonzero(names == name)) for name in ("train", "val", "test")}
    if len(parts["train"]) and len(parts["val"]):
        test = parts["test"] if len(parts["test"]) else None
        return Splits(bundle.labels, bundle.preprocessing, parts["train"], parts["val"], test)
    audit.notes.append(
        "These are not the pictures that it was trained on, so its twins learn from others than it did: what differs "
        "may come from that alone. Look closely before you accuse it."
    )
    return split(pixels, val_fraction=0.2, test_fraction=0)


def _accuracy_differs(
    predictor: Predictor, pixels: Pixels, splits: Splits, is_own_list: bool, audit: BundleAudit
) -> Iterator[Finding]:
    """Compare the accuracy that the bundle records with what it has now on the very same pictures."""
    info = predictor.bundle.info
    name = "test" if splits.test else "val"
    recorded, part = (info.metrics or {}).get(name), splits.held_out
    if not recorded or not info.data or recorded["n"] != len(part):
        return
    same = fingerprint(pixels.dataset) == info.data["sha256"]
    if not (same or is_own_list):
        return
    audit.looked.append(f"the accuracy that it records for its {name} pictures")
    now = float((predictor.on_split(part)[0].argmax(axis=1) == part.labels).mean())
    if abs(now - recorded["accuracy"]) > max(MOST_SHIFT, 2 / len(part)):
        evidence = {"by": "accuracy", "label": name, "value": round(now, 4), "usual": recorded["accuracy"]}
        yield Finding("tampering", score=1.0 if same else LISTED, evidence=evidence)


def _beside_twins(
    model: Classifier, bundle: Bundle, splits: Splits, count: int, budget: Budget, audit: BundleAudit, watcher: Watcher
) -> None:
    """Train clean twins while there is time, and compare."""
    if bundle.info.origin is not None or is_own(bundle):
        audit.notes.append("No recipe of keensight builds its network, so there are no clean twins to compare it with.")
        return
    watcher.stage("searching for triggers")
    own, num_classes = signs_of(model, splits.val, len(bundle.labels)), len(bundle.labels)
    theirs: list[Signs] = []
    for twin in twins(recipe_of(bundle), splits, count, lambda: budget.left > 0):
        watcher.stage(f"clean twin {len(theirs) + 1} of {count}")
        theirs.append(signs_of(twin, splits.val, num_classes))
        if budget.left < 0:
            break
    audit.num_twins, audit.triggers = len(theirs), own.triggers
    if len(theirs) < LEAST_TWINS:
        audit.notes.append(
            f"Only {len(theirs)} clean twin{'s' * (len(theirs) != 1)} could be trained within {budget.seconds:g} s, "
            f"and {LEAST_TWINS} are needed: triggers and weights were not judged. Give it more time with --budget, "
            "such as --budget 1h."
        )
        return
    audit.looked.append(f"its weights and certainty, beside {len(theirs)} clean twins")
    if own.triggers:
        audit.looked.append("the smallest spot and the faintest veil that turn pictures into each class, beside theirs")
    else:
        audit.notes.append("Triggers were not searched for: through a backbone that takes minutes for each class.")
    audit.findings += findings_about(own, theirs, bundle.labels)
