"""How a verb tells the outside how far it is: the outside may be a terminal, a notebook, or nobody."""

from __future__ import annotations

from keensight.values import Epoch


class Watcher:
    """Hears of everything and does nothing with it. Subclasses show what they like."""

    def note(self, text: str) -> None:
        """Hear something that the user should know, in a sentence."""

    def stage(self, name: str) -> None:
        """Hear that a stage begins, such as "evaluating"."""

    def pictures(self, done: int, total: int) -> None:
        """Hear how many pictures are decoded."""

    def step(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Hear how many steps of an epoch are done."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Hear what an epoch gave."""
