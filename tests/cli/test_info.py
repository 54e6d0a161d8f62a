"""keensight info: what it prints. Its JSON is in test_contract.py."""

from dataclasses import fields

from keensight.cli.info import GROUPS
from keensight.values import Recipe


def test_every_key_has_its_place():
    grouped = [key for keys in GROUPS.values() for key in keys]
    shown_above = ["name", "about", "data", "caution", "reported", "promise", "model", "options"]
    assert sorted([*grouped, *shown_above]) == sorted(field.name for field in fields(Recipe))


def test_a_recipe_is_told_by_what_is_its_own(warm):
    done = warm("info", "fashion-tiny", COLUMNS="120")
    assert done.status == 0 and done.err == ""
    assert done.out.startswith("fashion-tiny      Fashion-MNIST with 18,742 parameters, a twenty-seventh of")
    for line in (
        "data              fashion-mnist",
        "promise           test.accuracy at least 0.92, parameters at most 20000",
        "model             resnet, filters = 4, dropout = 0.0, mirror = true",
        "pictures          val_fraction = 0.1",
        "training          epochs = 15, learning_rate = 0.01",
        "augmentation      flip = true",
        "every key         keensight info fashion-tiny --json",
    ):
        assert line in done.out.splitlines(), done.out
    assert "batch_size" not in done.out and "stopping" not in done.out
    of_json = warm("info", "fashion-tiny", "--json").json()
    assert {field.name for field in fields(Recipe)} - {"options"} < set(of_json)


def test_a_model_has_nothing_but_its_own_keys(warm):
    done = warm("info", "cnn", "--layers")
    assert done.out.startswith("model             cnn, filters = 24, dropout = 0.1\n\nAll else is as by default.\n")
    assert "for pictures of 64 x 64 x 3 and 10 classes" in done.out and "Conv2d" in done.out


def test_plot_says_what_was_written_and_no_more(warm, digits):
    assert warm("info", digits, "--plot").out == f"wrote          {digits / 'history.svg'}\n"
    assert warm("info", digits, "--plot", "--json").json()["epochs_done"] == 20


def test_a_run_shows_of_its_recipe_what_is_its_own(warm, digits):
    said = warm("info", digits).out
    assert said.startswith("kind: run\n") and "  epochs: 20\n" in said and "  batch_size" not in said
    assert "abstain_below: 0.6\n" in said, "the bundle's own"
