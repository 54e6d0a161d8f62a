"""How a verb reports its progress: to a terminal, a notebook, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keensight.data.decided import finding_of
from keensight.data.listing import is_beside
from keensight.data.patterns import cut_labels
from keensight.errors import shortlist
from keensight.names import shortened
from keensight.values import NONE_OF_THESE, SPLIT_NAMES, Dataset, Epoch, Skipped

if TYPE_CHECKING:
    from keensight.bundle.read import Bundle
    from keensight.values import Finding


REFUSALS = ("none of these", NONE_OF_THESE, "not sure")  # how answers that name no class begin
SHOWN_CLASSES = 10  # by name and count; of more, the first few and how many pictures the others have


def holdings(dataset: Dataset) -> str:
    """Say what a dataset holds: its classes with their pictures (those of its train split, if any), and its splits.

    2 classes: cats 20, dogs 20; splits train 40, test 16
    """
    splits = Counter(sample.split for sample in dataset.samples)
    learnt = Counter(
        sample.label for sample in dataset.samples if "train" not in splits or sample.split in ("train", None)
    )
    counts = [f"{shortened(name)} {learnt[label]:,}" for label, name in enumerate(dataset.class_names)]
    said = f"{len(counts):,} classes: {shortlist(counts, SHOWN_CLASSES)}"
    if len(counts) > SHOWN_CLASSES:
        fewest, most = min(learnt[label] for label in range(len(counts))), max(learnt.values())
        many = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        said += f", each with {many} picture{'s' * (most != 1)}"
    given = [f"{split} {splits[split]:,}" for split in SPLIT_NAMES if splits[split]]
    if given and splits[None]:
        given.append(f"to be divided {splits[None]:,}")
    return f"{said}; splits {', '.join(given)}" if given else said


def account(skipped: Sequence[Skipped]) -> str:
    """Say what was left out and why: the first few names for each of the first few reasons.

    >>> account([Skipped("a.pdf", "a PDF"), Skipped("b.jpg", "empty"), Skipped("c.pdf", "a PDF")])
    'a.pdf, c.pdf: a PDF; b.jpg: empty'
    """
    paths: dict[str, list[str]] = {}
    for each in skipped:
        paths.setdefault(each.reason, []).append(each.path)
    said = [f"{shortlist(named, 3)}: {reason}" for reason, named in paths.items()]
    more = sum(map(len, list(paths.values())[5:]))
    return "; ".join(said[:5]) + (f"; and {more:,} more for {len(said) - 5:,} other reasons" if more else "")


def cut_notes(dataset: Dataset, label_pattern: str) -> list[str]:
    """Say which labels look cut short by the pattern that reads them from file names."""
    labels = {sample.path.rpartition("/")[2]: dataset.class_names[sample.label] for sample in dataset.samples}
    cut = cut_labels(label_pattern, labels) if label_pattern else {}
    named = [f"'{label}' holds {shortlist(longer, 3)}" for label, longer in cut.items()]
    return (
        [
            f"{len(cut):,} class{'es' * (len(cut) > 1)} may be cut short by the label pattern '{label_pattern}': "
            f"{shortlist(named, 3)}. If these are classes of their own, give "
            f"'{label_pattern.replace('{label}', '{label...}')}', which reaches to the last separator."
        ]
        if cut
        else []
    )


def name_notes(class_names: Sequence[str]) -> list[str]:
    """Say which classes are called as keensight calls an answer that it does not give."""
    alike = [name for name in class_names if _as_words(name) in REFUSALS]
    if not alike:
        return []
    return [
        f"The data has the class{'es' * (len(alike) > 1)} {shortlist([repr(name) for name in alike], 3)}, which is "
        "what keensight says of a picture that it cannot tell, so its answers read like refusals. Rename such a class, "
        "to 'other' for example; or leave its pictures out: pictures unlike all that was learnt are refused without it."
    ]


def _as_words(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _sentence(finding: Finding) -> str:
    from keensight.pages.findings import sentence  # with `unconfirmed` 5 ms, which predicting need not wait for

    return sentence(finding)


class Watcher:
    """Receives all progress and ignores it. Subclasses show what they like."""

    def is_enough(self) -> bool:
        """Say whether training should end now, with the best epoch so far. It is asked after each epoch."""
        return False

    def note(self, text: str) -> None:
        """Receive a sentence that the user should know."""

    def found(self, dataset: Dataset, label_pattern: str) -> None:
        """Note what a dataset holds, before anything is learnt from it."""
        from keensight.care.unconfirmed import unconfirmed_labels

        self.note(f"{holdings(dataset)}.")
        for note in [*cut_notes(dataset, label_pattern), *name_notes(dataset.class_names)]:
            self.note(note)
        if guessed := unconfirmed_labels(dataset):
            self.note(_sentence(guessed))

    def skipped(self, dataset: Dataset, listed_in: str = "") -> None:
        """Note what was decided about a dataset, and what was left out of it, the first few by name."""
        if decided := finding_of(dataset.decisions):
            self.note(_sentence(decided))
        self.left_out(dataset.name, dataset.skipped, listed_in)

    def left_out(self, name: str, skipped: Sequence[Skipped], listed_in: str = "") -> None:
        """Note what was left out of what is called `name`, the first few by name.

        What so often lies beside pictures, such as a README, is only counted.
        """
        beside = [each.path for each in skipped if is_beside(each.path)]
        others = [each for each in skipped if not is_beside(each.path)]
        pointer = f"; all are listed in {listed_in}" if listed_in else ""
        if others:
            more = f"; and {len(beside):,} beside the pictures, such as {beside[0]}" if beside else ""
            self.note(f"Left out {len(others):,} of what {name} holds: {account(others)}{more}{pointer}.")
        elif beside:
            self.note(f"Beside the pictures of {name}: {shortlist(beside, 3)}{pointer}.")

    def opened(self, bundle: Bundle) -> None:
        """Note that a bundle carries no signature, or that it was not checked by a key."""
        if bundle.changes:
            self.note(f"{bundle.path} was changed after it was signed: {'; '.join(bundle.changes)}.")
        elif bundle.is_signed and bundle.verified_by is None:
            self.note(f"{bundle.path} is signed, but not checked: give --key, its signer's public key.")
        elif not bundle.is_signed:
            edited = ""
            if bundle.edited:
                verb = "was" if len(bundle.edited) == 1 else "were"
                edited = f" Its {shortlist(list(bundle.edited), 3)} {verb} changed since it was made."
            self.note(
                f"{bundle.path} carries no signature: anyone could have changed it.{edited} `keensight sign` gives it "
                "one."
            )

    def stage(self, name: str) -> None:
        """A stage begins, such as "evaluating"."""

    def pictures(self, done: int, total: int) -> None:
        """So far, `done` of `total` pictures are decoded."""

    def explained(self, done: int, total: int) -> None:
        """So far, `done` of `total` pictures are explained."""

    def features(self, done: int, total: int) -> None:
        """So far, a backbone has computed features for `done` of `total` pictures."""

    def certified(self, done: int, total: int) -> None:
        """Be told how many pictures have been looked at for a certificate, of how many."""

    def scanned(self, done: int, total: int) -> None:
        """So far, `done` of `total` rows of a large picture are scanned."""

    def compared(self, done: int, total: int) -> None:
        """So far, `done` of `total` pairs of pictures that may be one are compared."""

    def gathered(self, done: int, total: int) -> None:
        """So far, `done` of `total` pictures that are wanted are there."""

    def trial(self, number: int, trials: int | None, score: str) -> None:
        """Trial `number`, from 0, of `trials` begins. `trials` is None when unknown; `score` is the best so far."""

    def step(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """So far, `done` of `total` steps of an epoch are done."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """An epoch has ended."""
