"""None of these, from training to the answer."""

import json

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import keensight
from keensight.bundle.read import read_bundle
from keensight.data.nonsense import nonsense
from keensight.data.sources import open_dataset, reader
from keensight.errors import RecipeError
from keensight.evaluation.calibration import fit_temperature, softmax
from keensight.evaluation.conformal import calibrate
from keensight.evaluation.crossed import cross_validate
from keensight.names import catch_alls_of
from keensight.pipeline.notes import notes
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.training.recipe import load_recipe
from keensight.values import Preprocessing, Recipe, Split, Splits

QUICK = ["epochs=2", "filters=4", "size=16"]


@pytest.fixture(scope="module", autouse=True)
def short_runs(brief_with_oddness):
    """Learn all of oddness: what others leave out of it is tested here."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two classes of pictures of soft spots, left and right, one named like the rest."""
    folder = tmp_path_factory.mktemp("spots")
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    for name, middle in (("left", 4), ("not_left", 11)):
        (folder / name).mkdir()
        for i in range(70):
            y, x = draw.normal(7.5, 1.5), draw.normal(middle, 1)
            spot = 190 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
            levels = spot[..., None] * draw.uniform(0.8, 1, 3) + draw.normal(30, 6, (16, 16, 3))
            Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    return keensight.train(photographs, out=tmp_path_factory.mktemp("odd") / "run", set=QUICK)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    for i, picture in enumerate(nonsense("mosaics", 12, np.zeros((2, 16, 16, 3), np.uint8), seed=8)):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def test_nonsense_is_refused_with_a_reason_and_own_pictures_are_not(run, noise, photographs):
    refused = keensight.predict(run.bundle, noise)
    assert sum(answer.is_none_of_these for answer in refused) >= 11
    for answer in refused:
        assert answer.abstained == bool(answer.reasons) and set(answer.label_set) <= {"left", "not_left"}
    own = keensight.predict(run.bundle, photographs)
    assert sum(answer.is_none_of_these for answer in own) < 0.15 * len(own)


def test_report_and_evaluate_count_the_same(run, photographs):
    report = json.loads((run.folder / "report.json").read_text())
    kinds = {kind["kind"]: kind for kind in report["odd"]["kinds"]}
    assert {"validation pictures", "test pictures", "checkerboards", "other photographs", "handwritten digits"} <= set(
        kinds
    )
    for split, kind in (("val", "validation pictures"), ("test", "test pictures")):
        measured = keensight.evaluate(run.bundle, photographs, split=split).metrics
        assert measured.none_of_these == kinds[kind]["share"] and measured.n == kinds[kind]["n"]
        assert measured.accuracy == report[split]["accuracy"]
    assert kinds["validation pictures"]["share"] <= 0.05
    assert report["sets"]["n"] == report["test"]["n"] and report["sets"]["coverage"] >= 0.8
    page = (run.folder / "report.html").read_text()
    assert "Does it know what it does not know?" in page and "other photographs" in page


def test_a_model_is_the_same_with_and_without(run, photographs, tmp_path):
    plain = keensight.train(photographs, out=tmp_path / "run", set=[*QUICK, "coverage=1"])
    assert (plain.bundle / "model.safetensors").read_bytes() == (run.bundle / "model.safetensors").read_bytes()
    assert plain.report.test.accuracy == run.report.test.accuracy and plain.report.test.loss == run.report.test.loss
    assert plain.report.odd is None and "rejector" not in json.loads((plain.bundle / "bundle.json").read_text())
    assert plain.report.temperature == run.report.temperature


def test_with_few_validation_pictures_sets_and_temperature_rest_on_cross_validation(photographs, tmp_path, monkeypatch):
    """Eleven would promise nothing: every label would be in every set."""
    monkeypatch.setattr("keensight.pipeline.finish.cross_validate", cross_validate)  # left out of other short runs
    run = keensight.train(photographs, out=tmp_path / "run", set=[*QUICK, "epochs=6", "val_fraction=0.08"])
    assert run.report.val.n < 19
    bundle, recipe = read_bundle(run.bundle), load_recipe(str(run.folder / "recipe.toml"))
    material = prepare(open_dataset(photographs), recipe, Watcher())
    crossed = cross_validate(material.model, material.splits, recipe)
    assert len(crossed.labels_N) == run.report.val.n + len(material.splits.train)
    temperature = fit_temperature(crossed.logits_NK, crossed.labels_N)
    wanted = calibrate(softmax(crossed.logits_NK, temperature), crossed.labels_N)
    assert bundle.info.label_sets == wanted and wanted.quantile < 1
    assert bundle.info.temperature == temperature


def test_a_catch_all_gets_what_is_odd(photographs, noise, tmp_path):
    caught = keensight.train(photographs, out=tmp_path / "run", set=[*QUICK, 'catch_all="not_left"'])
    for answer in keensight.predict(caught.bundle, noise):
        if "unlike anything" in str(answer.notes):
            assert answer.label == "not_left" and answer.probability > 0.94 and not answer.is_none_of_these
    assert sum(answer.label == "not_left" for answer in keensight.predict(caught.bundle, noise)) >= 11
    assert keensight.evaluate(caught.bundle, photographs).metrics.none_of_these == 0
    assert not any("may stand for everything else" in note for note in caught.report.data["notes"])


def test_a_catch_all_that_is_no_class_is_refused(photographs, tmp_path):
    with pytest.raises(RecipeError, match="catch_all is .notleft., which is no class of the data"):
        keensight.train(photographs, out=tmp_path / "run", set=[*QUICK, "catch_all=notleft"])


def test_a_label_named_like_a_catch_all_is_noted(run):
    (note,) = [note for note in run.report.data["notes"] if "may stand for everything else" in note]
    assert note.startswith("'not_left'") and "--set catch_all=not_left" in note


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["husky", "nothusky"], ["nothusky"]),
        (["a", "Other"], ["Other"]),
        (["cat", "no-cat"], ["no-cat"]),
        (["note", "novel", "nonet"], []),
        (["background", "cat", "none"], ["background", "none"]),
        (["0", "1"], []),
    ],
)
def test_which_names_are_like_a_catch_all(names, found):
    assert catch_alls_of(names) == found


def test_several_names_like_a_catch_all_are_noted_together():
    size, few = Preprocessing(8, 8, 1), Split(np.zeros((3, 8, 8, 1), np.uint8), np.arange(3), np.arange(3), ("",) * 3)
    (said,) = notes(Splits(("cat", "none", "other"), size, few, few, None), Recipe(), "mine")
    assert said.startswith("'none' and 'other' may each stand for everything else. If one of them does, --set ")
    assert "catch_all=none" in said


@pytest.mark.slow
def test_digits_are_told_from_letters_and_from_clothes(shared, tmp_path):
    """Letters are in a typeface that was not learnt from; those that look like digits are left out."""
    run = keensight.train(shared / "mnist", recipe="digits-quick", out=tmp_path / "run")
    predictor = keensight.load(run.bundle)
    draw, letters = np.random.default_rng(0), []
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSerif.ttf", 80)
    for sign in "AEFHKMNPRTUVWXYadefhkmnprtwx\u03b4\u0394\u03a3\u03c0":
        for _ in range(6):
            sheet = Image.new("L", (112, 112))
            ImageDraw.Draw(sheet).text((56, 56), sign, 255, font, "mm")
            turned = sheet.rotate(draw.uniform(-10, 10))
            letters.append(np.asarray(turned.resize((28, 28), Image.Resampling.BOX))[..., None])
    assert np.mean([answer.is_none_of_these for answer in predictor.on_images(np.stack(letters))]) > 0.9
    assert 1 - run.report.test.none_of_these > 0.9 and run.report.val.none_of_these <= 0.05
    others = [kind for kind in run.report.odd.kinds if not kind.is_own]
    assert len(others) >= 6 and np.mean([kind.share for kind in others]) > 0.99
    try:
        clothes = keensight.open_dataset("fashion-mnist")
    except keensight.KeensightError:
        return  # it is not on this machine
    with reader(clothes) as read:
        pictures = np.stack([read(sample) for sample in clothes.samples[::350]])
    assert np.mean([answer.is_none_of_these for answer in predictor.on_images(pictures)]) > 0.97


@pytest.mark.slow
def test_huskies_are_told_from_nonsense_and_digits(shared, tmp_path):
    run = keensight.train(shared / "huskies.zip", recipe="husky-transfer", out=tmp_path / "run")
    kinds = {kind.kind: kind.share for kind in run.report.odd.kinds}
    assert kinds.pop("validation pictures") <= 0.05 and kinds.pop("test pictures") < 0.12
    assert np.mean(list(kinds.values())) >= 0.98 and min(kinds.values()) > 0.9
    assert run.report.sets.coverage > 0.9 and run.report.sets.size < 1.4
