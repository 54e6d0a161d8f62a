"""A run on two nodes that loses one thing after the other, and the seconds until it has learnt an epoch more.

What has ended is known by the run's own words, so that an epoch which was on its way when something was lost does not
count as one that was learnt after it.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nodes import HEAD, PORT, Nodes, kill, text_of, until

# The run's words for what it noticed. A worker that is lost before its team begins is only missed.
LOST, GROWN = "A worker is lost|1 can train now", "2 can train now"
MORE = 3  # epochs, after the last fault
# keensight, which waits for workers that take minutes to start, as on a busy machine
KEENSIGHT = "import sys, keensight.scale.on_ray as ray, keensight.cli as cli; ray.START_S = 900; cli.main(sys.argv[1:])"


class Training:
    """A run, started on the head's machine, that never ends by itself: its recipe has too many epochs."""

    def __init__(self, nodes: Nodes, run: Path, *words: str):
        self.nodes, self.run, self.log = nodes, run, nodes.folder / "train.log"
        self.running = self.begin(*words, "--set", "epochs=100000", "--set", "schedule=constant")
        self.wait(lambda: self.epochs() >= 2, "the first two epochs")

    def begin(self, *words: str) -> subprocess.Popen:
        """Start `keensight train`."""
        own = ["--out", str(self.run), "--workers", "2", "--cluster", f"{HEAD}:{PORT}"]
        return self.nodes.popen("head", [sys.executable, "-c", KEENSIGHT, "train", *words, *own], self.log)

    def epochs(self) -> int:
        """Return how many epochs are done."""
        return len(text_of(self.run / "history.jsonl").splitlines())

    def times(self, said: str) -> int:
        """Return how often the run has said what a regular expression stands for."""
        return len(re.findall(said, text_of(self.log)))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so. Raises AssertionError when the run ends, or after a long time."""
        until(condition, what, self.running, self.log)

    def an_epoch_after(self, said: str, happens: Callable[[], object]) -> float:
        """Let something happen; return the seconds until the run has `said` so, and then done an epoch more."""
        before, begin = self.times(said), time.monotonic()
        happens()
        self.wait(lambda: self.times(said) > before, f"'{said}'")
        done = self.epochs()
        self.wait(lambda: self.epochs() > done, f"an epoch after '{said}'")
        return time.monotonic() - begin

    def a_worker_is_killed(self) -> float:
        """Kill the other node's worker; return the seconds until the next epoch was done, as all of these do."""
        self.wait(lambda: len(self.nodes.workers("other")) == 1, "a worker on the other node")
        return self.an_epoch_after(LOST, lambda: [kill(pid) for pid in self.nodes.workers("other")])

    def a_node_is_killed(self) -> float:
        """Kill the other node."""
        self.wait(lambda: len(self.nodes.workers("other")) == 1, "a worker on the other node")
        return self.an_epoch_after(LOST, lambda: self.nodes.kill("other"))

    def the_node_comes_back(self) -> float:
        """Start the other node again: its worker takes part from the next checkpoint on."""
        return self.an_epoch_after(GROWN, lambda: self.nodes.start("other"))

    def the_link_is_cut(self) -> float:
        """Cut the cable."""
        self.wait(lambda: len(self.nodes.workers("other")) == 1, "a worker on the other node")
        return self.an_epoch_after(LOST, self.nodes.cut)

    def the_link_comes_back(self) -> float:
        """Mend the cable. The other node's Ray ends by itself, soon or late; its supervisor's work is done here."""

        def happens() -> None:
            self.nodes.cut(False)
            self.nodes.kill("other")
            self.nodes.start("other")

        return self.an_epoch_after(GROWN, happens)

    def the_driver_is_killed(self) -> float:
        """Kill the process that was started, and start it again; soon after, the run comes to its end."""
        begin = time.monotonic()
        self.running.kill()
        self.running.wait()
        done, recipe = self.epochs(), self.run / "recipe.toml"
        recipe.write_text(re.sub(r"epochs = \d+", f"epochs = {done + MORE}", recipe.read_text()))
        self.running = self.begin("digits", "--resume")
        self.wait(lambda: self.epochs() > done, "an epoch after the driver was killed")
        return time.monotonic() - begin


def all_faults(nodes: Nodes, run: Path, *words: str) -> tuple[Training, dict[str, float]]:
    """Begin a run on the digits and lose one thing after the other; return it, and what going on took, in seconds."""
    training = Training(nodes, run, "digits", *words)
    took = {"worker_s": training.a_worker_is_killed(), "node_s": training.a_node_is_killed()}
    training.the_node_comes_back()
    took["link_s"] = training.the_link_is_cut()
    training.the_link_comes_back()
    took["driver_s"] = training.the_driver_is_killed()
    return training, took
