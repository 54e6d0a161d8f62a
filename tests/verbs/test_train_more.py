"""Training again when there is more data: the old test pictures stay unseen."""

import json

import pytest

import keensight
from keensight.data.splits import read_splits

QUICK = ["epochs=1", "model=dense"]


@pytest.fixture(scope="module")
def runs(draw, tmp_path_factory):
    """A run on old pictures, and one on these and new ones that keeps its splits."""
    place = tmp_path_factory.mktemp("more")
    data = [draw(place / "old", ["a", "b"], 20, 1), draw(place / "new", ["b", "c"], 20, 2)]
    first = keensight.train(data[0], out=place / "first", set=QUICK)
    second = keensight.train(data, out=place / "second", set=[*QUICK, f"splits={first.bundle}"])
    return data, first, second


def listed(run):
    return {each.sha256: each.split for each in read_splits(run.folder / "splits.jsonl")}


def test_the_old_splits_are_kept_and_told(runs):
    _, first, second = runs
    before, after = listed(first), listed(second)
    assert before.items() <= after.items() and len(after) == 80
    assert "40 pictures keep the split that they had; 40 that had none" in " ".join(second.report.data["notes"])
    assert second.report.data["class_names"] == ["a", "b", "c"]


def test_the_run_is_evaluated_on_what_it_held_out(runs):
    data, first, second = runs
    whole = keensight.evaluate(second.bundle, data, split="test").metrics
    assert whole.n == second.report.test.n and whole.accuracy == second.report.test.accuracy
    part = keensight.evaluate(second.bundle, data[0], split="test").metrics
    assert part.n == first.report.test.n


def test_the_runs_list_trains_the_same_model(runs, tmp_path):
    _, _, second = runs
    again = keensight.train(second.folder / "splits.jsonl", out=tmp_path / "again", set=QUICK)
    assert listed(again) == listed(second)
    weights = [(run.bundle / "model.safetensors").read_bytes() for run in (second, again)]
    assert weights[0] == weights[1]


def test_what_resumes_a_run_is_in_its_folder(runs):
    data, first, second = runs
    assert json.loads((second.folder / "data.json").read_text())["data"] == [str(each) for each in data]
    assert f'splits = "{first.folder / "splits.jsonl"}"' in (second.folder / "recipe.toml").read_text()
