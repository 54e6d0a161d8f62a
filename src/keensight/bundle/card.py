"""The model card: what a reviewer must know, on one page (after Mitchell et al., 2018, arXiv:1810.03993)."""

from __future__ import annotations

from collections.abc import Sequence

from keensight.bundle.info import BundleInfo
from keensight.errors import counted
from keensight.evaluation.advice import warnings
from keensight.evaluation.words import confused_pairs, duration, percent
from keensight.values import Metrics, Report


def model_card(report: Report) -> str:
    """Return the card as Markdown. Names from the data are escaped."""
    headline = report.headline
    split = report.headline_split
    size = report.preprocessing
    counts = {name: sum(of_class.values()) for name, of_class in report.data["counts"].items()}
    lines = [
        f"# Model card: {_plain(report.run)}",
        "",
        f"A `{report.model['name']}` classifier with {report.model['parameters']:,} parameters. It takes a picture "
        f"(resized to {size['height']}x{size['width']}, {'grey' if size['channels'] == 1 else 'colour'}, "
        f"{size['fit']}) and answers with one of {len(report.data['class_names'])} labels: "
        f"{', '.join(_plain(name) for name in report.data['class_names'])}.",
        "",
        "## How good it is",
        "",
        "| on | accuracy | 95 % interval | balanced | loss | ECE | n |",
        "|---|---|---|---|---|---|---|",
        _row("validation", report.val),
        *([_row("test", report.test)] if report.test else []),
        "",
        *(
            f"- {floor.name}: {_percent(floor.test_accuracy if report.test else floor.val_accuracy)} on {split}"
            for floor in report.floors
        ),
        *(
            f"- under {attack.attack} within {attack.threat.norm} {attack.threat.eps:g}: {_percent(attack.accuracy)} "
            f"on {counted(attack.n, 'picture')}"
            for attack in report.attacks
        ),
        *(
            f"- certified within {each.threat.norm} {each.threat.eps:g}: {_percent(each.accuracy)} of {each.n:,} "
            "pictures, for which no change that small changes the right answer"
            for each in report.certificates
        ),
        "",
        "## Known weaknesses",
        "",
        *(f"- **{_plain(warning)}**" for warning in warnings(report)),
        *_weaknesses(headline, split),
        "",
        "## Data",
        "",
        f"- {_plain(report.data['name'])}, sha256 `{report.data['sha256']}`: "
        + ", ".join(f"{n:,} {name}" for name, n in counts.items()),
        *(f"- {_plain(note)}" for note in report.data["notes"]),
        *(
            [f"- {counted(len(report.data['skipped']), 'file was', 'files were')} skipped; the report names them."]
            * bool(report.data["skipped"])
        ),
        "",
        "## Intended use",
        "",
        f"Pictures like those it was trained on. It has no label for anything else{_others(report)}; it abstains where "
        f"its calibrated probability is below {report.abstain_below:g}.",
        "",
        f"Trained {report.created}, training time {duration(report.seconds)}, on {report.hardware}, "
        + ", ".join(f"{name} {version}" for name, version in report.versions.items())
        + ". The recipe is in bundle.json, the full report in report.html.",
    ]
    return "\n".join(lines) + "\n"


def _others(report: Report) -> str:
    if report.odd is None:
        return ", and gives other pictures one of its labels too"
    others = [kind for kind in report.odd.kinds if not kind.is_own]
    refused, n = sum(round(kind.share * kind.n) for kind in others), sum(kind.n for kind in others)
    answer = f"calls them {_plain(report.odd.catch_all)}" if report.odd.catch_all else "says so"
    return (
        f". It {answer} where a picture is unlike anything it has learnt, as {refused:,} of {n:,} drawn and foreign "
        "pictures in its report were; pictures of things much like its own get one of its labels"
    )


def imported_card(name: str, info: BundleInfo, notes: Sequence[str]) -> str:
    """Return the card of a model that was made elsewhere, as Markdown, from its bundle.json and what was assumed."""
    origin, size, labels = info.origin or {}, info.preprocessing, info.labels
    lines = [
        f"# Model card: {_plain(name)}",
        "",
        f"A network with {info.num_parameters or 0:,} parameters, imported from `{_plain(origin['file'])}`, which "
        f"Keras {_plain(origin['keras']) or 'of an unknown version'} wrote (sha256 `{origin['sha256']}`). It takes a "
        f"picture (resized to {size.height}x{size.width}, {'grey' if size.channels == 1 else 'colour'}, "
        f"{size.fit}) and answers with one of {len(labels)} labels: {', '.join(map(_plain, labels))}.",
        "",
        "## How good it is",
        "",
        "Not measured here: `keensight evaluate` measures it on labelled pictures. Its probabilities are those of the "
        "Keras model, and not calibrated.",
        "",
        "## Data",
        "",
        "Unknown: the file does not say what it was trained on.",
        "",
        "## Assumed",
        "",
        f"- It gets pixels of {origin['pixels']}.",
        *(f"- {_plain(note)}" for note in notes),
        "",
        "## Intended use",
        "",
        "Pictures like those it was trained on, which are not known here. It has no label for anything else, and "
        "gives other pictures one of its labels too; it abstains where its probability is below "
        f"{info.abstain_below:g}.",
        "",
        f"Imported {info.created} by keensight {info.keensight}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, m: Metrics) -> str:
    interval = f"{m.accuracy_low:.3f} to {m.accuracy_high:.3f}"
    return (
        f"| {name} | {m.accuracy:.4f} | {interval} | {m.balanced_accuracy:.4f} | {m.loss:.4f} | {m.ece:.4f} | {m.n:,} |"
    )


def _weaknesses(m: Metrics, split: str) -> list[str]:
    worst = sorted((c for c in m.per_class if c.n), key=lambda c: c.recall)[:3]
    return [
        *(f"- recall of {_plain(c.name)}: {_percent(c.recall)} of {c.n:,} {split} pictures" for c in worst),
        *(f"- {_plain(name)} called {_plain(answer)}: {n:,} times" for name, answer, n, _ in confused_pairs(m, most=3)),
    ]


def _percent(share: float | None) -> str:
    return "not measured" if share is None else percent(share)


def _plain(text: str) -> str:
    """Escape what Markdown or HTML would act on: labels and file names are not to be trusted."""
    for character in "\\`*_[]<>|#!":
        text = text.replace(
            character, "\\" + character if character not in "<>" else {"<": "&lt;", ">": "&gt;"}[character]
        )
    return " ".join(text.split())
