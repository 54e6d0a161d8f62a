"""Two machines that are one, and what may happen to them: `make test-scale`, as root, some minutes."""

import tomllib

import pytest
from faults import all_faults
from nodes import Nodes, text_of, why_not
from safetensors.numpy import load_file

from keensight import train

pytestmark = pytest.mark.system
RECIPE = (
    "model=cnn", "filters=40", "batch_size=64", "pieces=2", "rotate=10", "dropout=0.2", "precision=float32",
)  # fmt: skip


@pytest.fixture
def nodes(tmp_path):
    if why_not():
        pytest.skip(why_not())
    with Nodes(tmp_path) as both:
        yield both


def test_whatever_is_lost_the_bits_are_those_of_one_worker(nodes, brief):
    changes = [word for each in RECIPE for word in ("--set", each)]
    run = nodes.folder / "run"
    training, took = all_faults(nodes, run, "--recipe", "default", *changes, "--checkpoint-every", "2s")
    assert training.running.wait() == 0, text_of(training.log)
    print({what: round(seconds, 1) for what, seconds in took.items()})

    epochs = tomllib.loads((run / "recipe.toml").read_text())["train"]["epochs"]
    assert training.epochs() == epochs
    changes = [*RECIPE, "schedule=constant", f"epochs={epochs}"]
    alone = train("digits", recipe="default", set=changes, out=nodes.folder / "alone").folder
    for name in ("best.safetensors", "bundle/model.safetensors", "last.safetensors"):
        found, expected = load_file(run / name), load_file(alone / name)
        assert found.keys() == expected.keys()
        assert all(found[each].tobytes() == expected[each].tobytes() for each in expected), name
