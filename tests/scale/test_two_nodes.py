"""Two machines that are one, and what may happen to them: `make test-scale`, as root, some minutes."""

import os
import signal
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Nodes, until

from keensight import train

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/ip").exists(), reason="needs root and iproute2"),
]
EPOCHS = 160
RECIPE = (
    "model=cnn", "filters=40", f"epochs={EPOCHS}", "batch_size=64", "pieces=2", "rotate=10", "dropout=0.2",
    "precision=float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run that nothing interrupts, on one worker."""
    return train("digits", recipe="default", set=RECIPE, out=tmp_path_factory.mktemp("alone") / "run").folder


@pytest.fixture
def nodes(tmp_path):
    pytest.importorskip("ray")
    with Nodes(tmp_path) as both:
        yield both


def test_whatever_is_lost_the_bits_are_those_of_one_worker(nodes, alone):
    run = nodes.folder / "run"
    changes = [word for each in RECIPE for word in ("--set", each)]
    words = ["digits", "--recipe", "default", *changes, "--out", str(run), "--workers", "2", "--checkpoint-every", "2s"]
    said = nodes.folder / "train.log"

    def epochs():
        return len((run / "history.jsonl").read_text().splitlines()) if (run / "history.jsonl").exists() else 0

    def goes_on(what):
        done = epochs()
        assert done < EPOCHS - 1, f"the run was over before {what}: raise EPOCHS"
        seconds = until(lambda: epochs() > done)
        print(f"\n{what}: the next epoch was done after {seconds:.1f} s")
        return seconds

    running = nodes.train(*words)
    until(lambda: epochs() >= 2)
    (worker,) = nodes.workers("other")
    os.kill(worker, signal.SIGKILL)
    took = {"a worker killed": goes_on("a worker killed")}
    until(lambda: nodes.workers("other"), 60)

    nodes.kill("other")
    took["a node killed"] = goes_on("a node killed")
    assert not nodes.workers("other") and len(nodes.workers("head")) == 1
    nodes.start("other")
    until(lambda: nodes.workers("other"), 60)  # more workers take over
    goes_on("a node came back")

    nodes.cut()
    took["the link cut"] = goes_on("the link cut")
    nodes.cut(False)
    nodes.kill("other")  # its Ray ends by itself, soon or late: to start it anew is a supervisor's work
    nodes.start("other")
    until(lambda: nodes.workers("other"), 60)
    goes_on("the link came back")

    running.kill()
    for pid in nodes.processes("head"):
        if "keensight\0train" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    running.wait()
    assert epochs() < EPOCHS, "it was over before all was tried: raise EPOCHS"
    running = nodes.train("digits", "--out", str(run), "--workers", "2", "--resume")
    took["the driver killed"] = goes_on("the driver killed and started again")
    assert running.wait() == 0, said.read_text()
    for name in ("best.safetensors", "bundle/model.safetensors", "last.safetensors"):
        found, expected = load_file(run / name), load_file(alone / name)
        assert found.keys() == expected.keys()
        assert all(found[each].tobytes() == expected[each].tobytes() for each in expected), name
    print(said.read_text())
    print({what: round(seconds, 1) for what, seconds in took.items()})
