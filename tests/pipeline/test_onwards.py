"""Going on from a bundle: what it learnt is kept, label by label."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import keensight
from keensight.bundle.read import read_bundle
from keensight.data.splits import read_splits
from keensight.errors import BundleError, UsageError
from keensight.pipeline.onwards import bundle_behind, recipe_to_go_on, take_over
from keensight.training.head import Head, regularisation_path
from keensight.training.trainers import fresh

QUICK = ["epochs=2"]


@pytest.fixture(scope="module")
def first(draw, tmp_path_factory):
    place = tmp_path_factory.mktemp("onwards")
    data = draw(place / "old", ["a", "b", "c"], 20, 1), draw(place / "new", ["b", "c", "d"], 20, 2)
    return data, keensight.train(data[0], out=place / "first", set=[*QUICK, "model=dense", "hidden=[16]"])


def test_rows_of_known_labels_are_kept_and_new_ones_begin_at_zero(first):
    _, run = first
    bundle = read_bundle(run.bundle)
    recipe = recipe_to_go_on(run.bundle, None, [], None)
    assert bundle_behind(recipe).path == bundle.path and recipe.model.options["hidden"] == (16,)
    labels = ("d", "c", "a")
    model = fresh(recipe.having(weights=""), bundle.preprocessing, labels)
    said = take_over(model, bundle, recipe, bundle.preprocessing, labels)
    assert "knows 2 of the 3 labels; new: d; no longer asked for: b." in said
    old, now = load_file(run.bundle / "model.safetensors"), model.state_dict()
    changed = [name for name in now if not torch.equal(old[name], now[name])]
    assert len(changed) == 2, "weight and bias of the last layer"
    for name in changed:
        np.testing.assert_array_equal(
            now[name], torch.stack([torch.zeros_like(old[name][0]), old[name][2], old[name][0]])
        )


def test_training_goes_on_and_held_out_pictures_stay_so(first, tmp_path):
    data, run = first
    again = keensight.train(data, from_=run.bundle, out=tmp_path / "again")
    before, after = ({e.sha256: e.split for e in read_splits(r.folder / "splits.jsonl")} for r in (run, again))
    assert before.items() <= after.items() and len(after) == 120
    assert again.report.data["class_names"] == ["a", "b", "c", "d"]
    better = keensight.train(data[0], from_=run.bundle, out=tmp_path / "better", set=["epochs=1"])
    assert better.report.val.loss < run.report.val.loss, "it begins where the other ended"
    assert keensight.compare([run.bundle, better.bundle], data[0], out=tmp_path / "compared")


def test_a_bundle_without_its_run_says_that_it_does_not_know_who_was_where(first, tmp_path):
    data, run = first
    moved = tmp_path / "moved"
    shutil.copytree(run.bundle, moved)
    bundle, labels = read_bundle(moved), ("a", "b", "c")
    for path, is_said in ((moved, True), (run.bundle, False)):
        recipe = recipe_to_go_on(path, None, [], None)
        model = fresh(recipe.having(weights=""), bundle.preprocessing, labels)
        said = take_over(model, bundle, recipe, bundle.preprocessing, labels)
        assert ("--set splits=RUN/splits.jsonl" in said) is is_said
    told = recipe_to_go_on(moved, None, [f'splits="{run.folder / "splits.jsonl"}"'], None)
    assert "--set" not in take_over(model, bundle, told, bundle.preprocessing, labels)
    same = keensight.train(data[0], from_=moved, out=tmp_path / "same", set=["epochs=1"])
    assert (same.folder / "splits.jsonl").read_bytes() == (run.folder / "splits.jsonl").read_bytes()


def test_new_pictures_alone_are_enough(first, tmp_path):
    data, run = first
    alone = keensight.train(data[1], from_=run.folder, out=tmp_path / "alone", set=["epochs=1"])
    assert alone.report.data["class_names"] == ["b", "c", "d"]
    resumed = keensight.train(data[1], out=tmp_path / "alone", resume=True)
    assert resumed.report.test.accuracy == alone.report.test.accuracy


def test_what_cannot_go_on_is_refused(draw, first, tmp_path):
    data, run = first
    with pytest.raises(UsageError, match="holds a 'dense', and the recipe default builds a 'cnn'"):
        recipe_to_go_on(run.bundle, "default", [], None)
    with pytest.raises(UsageError, match="--resume and --from"):
        keensight.train(data[0], from_=run.bundle, resume=True, out=run.folder)
    two = keensight.train(
        draw(tmp_path / "two", ["a", "b"], 9, 3), out=tmp_path / "linear", set=["model=linear", *QUICK]
    )
    with pytest.raises(BundleError, match="cannot go on with other labels"):
        keensight.train(draw(tmp_path / "others", ["a", "d"], 9, 4), from_=two.bundle, out=tmp_path / "other")


def test_a_head_is_pulled_to_what_it_was():
    torch.manual_seed(0)
    features, labels = torch.randn(60, 5), torch.randint(0, 3, (60,))
    before = Head(torch.randn(3, 5), torch.randn(3), 0.0)
    strong, *_, weak = regularisation_path(features, labels, 3, (1e6, 1e-3), before=before)
    np.testing.assert_allclose(strong.weight_KF, before.weight_KF, atol=1e-4)
    again = list(regularisation_path(features, labels, 3, (1e-3,)))[-1]
    answers = [head.logits(features).softmax(1) for head in (weak, again)]
    np.testing.assert_allclose(*answers, atol=0.05)
