"""How a verb tells the outside how far it is: the outside may be a terminal, a notebook, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keensight.errors import shortlist
from keensight.values import Dataset, Epoch

if TYPE_CHECKING:
    from keensight.bundle.read import Bundle


class Watcher:
    """Hears of everything and does nothing with it. Subclasses show what they like."""

    def note(self, text: str) -> None:
        """Hear something that the user should know, in a sentence."""

    def skipped(self, dataset: Dataset, listed_in: str = "") -> None:
        """Note what was left out of a dataset, the first few by name."""
        if skipped := dataset.skipped:
            named = shortlist([f"{s.path}: {s.reason}" for s in skipped], 5)
            pointer = f"; all are listed in {listed_in}" if listed_in else ""
            self.note(f"Left out {len(skipped):,} of what {dataset.name} holds: {named}{pointer}.")

    def opened(self, bundle: Bundle) -> None:
        """Note where a bundle has a signature that no key checked."""
        if bundle.changes:
            self.note(f"{bundle.path} was changed after it was signed: {'; '.join(bundle.changes)}.")
        elif bundle.is_signed and bundle.verified_by is None:
            self.note(f"{bundle.path} is signed, but not checked: give --key, its signer's public key.")

    def stage(self, name: str) -> None:
        """Hear that a stage begins, such as "evaluating"."""

    def pictures(self, done: int, total: int) -> None:
        """Hear how many pictures are decoded."""

    def explained(self, done: int, total: int) -> None:
        """Hear how many pictures are explained."""

    def features(self, done: int, total: int) -> None:
        """Hear how many pictures a backbone has looked at."""

    def trial(self, number: int, trials: int | None, score: str) -> None:
        """Hear that a trial begins, 0 the first, of so many or of who knows how many; and the best score so far."""

    def step(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Hear how many steps of an epoch are done."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Hear what an epoch gave."""
