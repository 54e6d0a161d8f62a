"""keensight info: what it prints. Its JSON is in test_contract.py."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

from keensight.values import Recipe

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen" / "bundle"


def test_a_recipe_is_told_by_what_is_its_own(warm):
    done = warm("info", "fashion-tiny", COLUMNS="120")
    assert done.status == 0 and done.err == ""
    assert done.out.startswith("fashion-tiny      Fashion-MNIST with 18,742 parameters, a twenty-seventh of")
    for line in (
        "data              fashion-mnist, shape = [28, 28, 1], num_classes = 10, val_fraction = 0.1",
        "promise           test.accuracy at least 0.92, parameters at most 20000",
        "model             resnet, filters = 4, dropout = 0.0, mirror = true",
        "train             epochs = 15, learning_rate = 0.01",
        "augment           flip = true",
        "every key         keensight info fashion-tiny --json",
    ):
        assert line in done.out.splitlines(), done.out
    assert "batch_size" not in done.out and "evaluate" not in done.out
    of_json = warm("info", "fashion-tiny", "--json").json()
    assert {field.name for field in fields(Recipe)} < set(of_json)


def test_a_model_has_nothing_but_its_own_keys(warm):
    done = warm("info", "cnn", "--layers")
    assert done.out.startswith("cnn, for pictures of 64 x 64 x 3 and 10 classes\n\nlayer  ")
    assert "Conv2d" in done.out and done.out.splitlines()[-1].split() == ["total", "316,514"]
    said = warm("info", "cnn").out
    first = "model             cnn, filters = 24, dropout = 0.1, mirror = false"
    assert said.startswith(f"{first}\n\nAll other values are the defaults.\n")


def test_data_are_told_in_words(warm):
    lines = warm("info", "digits", COLUMNS="120").out.splitlines()
    assert lines[0].startswith("digits            data of 1,797 pictures: 10 classes: 0 178, 1 182")
    assert "learnt as         8 x 8, grey, squash, if left to keensight" in lines
    assert lines[-2:] == ["left out          nothing", "every key         keensight info digits --json"]


def test_plot_says_what_was_written_and_no_more(warm, digits):
    assert warm("info", digits, "--plot").out == f"wrote          {digits / 'history.svg'}\n"
    assert warm("info", digits, "--plot", "--json").json()["epochs_done"] == 20


def test_a_run_is_told_on_a_page(warm, digits):
    report = json.loads((digits / "report.json").read_text())
    lines = warm("info", digits, COLUMNS="120").out.splitlines()
    test = report["test"]
    for line in (
        "digits            a run: cnn, 12,658 parameters, which answers with one of 10 labels: "
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "pictures          8 x 8, grey, squash",
        f"test accuracy     {test['accuracy']:.1%} (95 % interval {100 * test['accuracy_low']:.1f} to "
        f"{100 * test['accuracy_high']:.1f}, 269 pictures)",
        "data              digits: 1,259 train, 269 val, 269 test pictures",
        "signed            no",
        f"recipe            default: epochs = 20, pieces = {report['recipe']['train']['pieces']}",
        f"every key         keensight info {digits} --json",
    ):
        assert line in lines
    assert any(line.startswith("parity            gives the trained model's answers on 269") for line in lines)
    assert any(line.startswith("trained           20 epochs, training time ") for line in lines)
    of_json = warm("info", digits, "--json").json()
    assert of_json["splits"] == {"train": 1259, "val": 269, "test": 269} and of_json["signed"] is None
    assert of_json["recipe"]["train"]["batch_size"] == 128 and of_json["metrics"]["test"] == test
    head, _, columns, *rows = warm("info", digits, "--layers").out.splitlines()
    assert head == f"{digits}, for pictures of 8 x 8 x 1 and 10 classes" and columns.split()[0] == "layer"
    assert rows[-1].split() == ["total", "12,658"]


def test_an_unfinished_run_says_so(warm, digits, tmp_path):
    for name in ("recipe.toml", "history.jsonl"):
        shutil.copy(digits / name, tmp_path / name)
    said = warm("info", tmp_path).out
    assert (
        "a run that has no bundle yet" in said and "default: epochs = 20" in said and "20 epochs, training time" in said
    )


def test_a_bundle_says_whether_it_is_signed_and_still_what_was_signed(warm, tmp_path):
    bundle = shutil.copytree(FROZEN, tmp_path / "bundle")
    lines = warm("info", bundle).out.splitlines()
    assert "signed            by the key d8bb0bd391c8182a, not checked here" in lines
    (bundle / "MODEL_CARD.md").write_text("Mine.")
    said = warm("info", bundle, COLUMNS="120").out
    assert "by the key d8bb0bd391c8182a, not checked here; changed since: MODEL_CARD.md was changed" in said
    signed = warm("info", bundle, "--json").json()["signed"]
    assert signed["key"].startswith("d8bb0bd391c8182a") and signed["changes"] == ["MODEL_CARD.md was changed"]


def test_a_bundle_that_tells_nonsense_is_refused_in_words(warm, tmp_path):
    bundle = shutil.copytree(FROZEN, tmp_path / "bundle")
    (bundle / "signature.json").unlink()
    info = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(info | {"model": {"name": "\x1b[31mred", "parameters": 1}}))
    assert "\x1b" not in warm("info", bundle).out
    (bundle / "bundle.json").write_text(json.dumps(info | {"model": {"name": "red", "parameters": "many"}}))
    assert "has a bundle.json that cannot be described" in warm("info", bundle).refusal()
    assert warm("info", bundle, "--json").json()["model"]["parameters"] == "many"
