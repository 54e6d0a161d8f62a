"""`compare` on real, small bundles: its numbers are those of `evaluate` and of loops by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_digits

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import BundleError, DataError, RunError, UsageError
from keensight.models.linear import linear_weights
from keensight.pipeline import compared, finish
from keensight.pipeline.watch import Watcher
from keensight.values import Floor

RUNS = {
    "regular": ['classes=["0","1"]', "model=linear", "loss=hinge", "init=glorot"],
    "robust": ['classes=["1","0"]', "model=linear", "loss=robust-hinge", "eps=0.2"],  # the other way round
    "dense": ["model=dense", "hidden=[16]"],
    "small": ["model=logistic", "size=6"],
    "reseeded": ["model=logistic", "seed=7"],
}


class Ears(Watcher):
    """Hears what is said, but for that the bundles carry no signature."""

    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard += [text] if "carries no signature" not in text else []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Five runs on scikit-learn's digits; two of them on its zeros and ones, as pictures with a test split."""
    root = tmp_path_factory.mktemp("compare")
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 2:
            folder = root / "zero-one" / ("test" if i % 4 == 0 else "train") / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype(np.uint8)).save(folder / f"{i}.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(root / "cache"))
    patch.setattr(finish, "logistic_floor", lambda *_: Floor("logistic regression", 0.5, 0.5))  # not asked for
    for name, changes in RUNS.items():
        data = root / "zero-one" if "loss" in str(changes) else "digits"
        keensight.train(data, out=root / name, set=["epochs=4", *changes])
    patch.undo()
    return root


@pytest.fixture
def compare(home, tmp_path):
    def run(*names, data="digits", **options):
        return keensight.compare([home / name for name in names], data, out=tmp_path / "out", **options)

    return run


def by_hand(home, name, data="digits"):
    """Each picture's margin for its label, by its name, from the network itself."""
    bundle = read_bundle(home / name)
    model = network_of(bundle)
    dataset = keensight.open_dataset(data)
    pixels = keensight.decode(dataset, bundle.preprocessing)
    lines = [json.loads(line) for line in (home / name / "splits.jsonl").read_text().splitlines()]
    held_out = {line["file"] for line in lines if line["split"] == "test"}
    margins = {}
    for row, sample in zip(pixels.rows, pixels.dataset.samples, strict=True):
        if sample.path in held_out:
            image = torch.from_numpy(pixels.images[row].copy()).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                z = dict(zip(bundle.labels, model(image)[0].tolist(), strict=True))
            label = z.pop(dataset.class_names[sample.label])
            margins[sample.path] = label - max(z.values())
    return margins


def test_two_linear_models_that_learnt_their_labels_in_another_order(home, compare):
    result = compare("regular", "robust", data=home / "zero-one", eps=[0.0, 0.1])
    assert (result.split, result.data) == ("test", str(home / "zero-one")) and result.notes == ()
    labels = [json.loads((home / name / "bundle/bundle.json").read_text())["labels"] for name in ("regular", "robust")]
    assert labels == [["0", "1"], ["1", "0"]]
    assert [(each.letter, each.name, each.model) for each in result.bundles] == [
        ("A", "regular", "linear"), ("B", "robust", "linear"),
    ]  # fmt: skip
    margins = [by_hand(home, name, home / "zero-one") for name in ("regular", "robust")]
    assert margins[0].keys() == margins[1].keys() and result.n == len(margins[0])
    for each, name, values in zip(result.bundles, ("regular", "robust"), margins, strict=True):
        evaluated = keensight.evaluate(home / name, home / "zero-one").metrics
        m = each.metrics
        assert (m.accuracy, m.loss) == pytest.approx((evaluated.accuracy, evaluated.loss))
        assert m.roc_auc == pytest.approx(evaluated.roc_auc)
        assert m.balanced_accuracy == pytest.approx(evaluated.balanced_accuracy)
        assert [row.name for row in m.per_class] == ["0", "1"]
        assert {row.name: row.n for row in m.per_class} == {row.name: row.n for row in evaluated.per_class}
        assert m.accuracy == pytest.approx(np.mean([value > 0 for value in values.values()]))
        model = network_of(read_bundle(home / name))
        reach = 0.1 * float(linear_weights(model).detach().abs().sum())
        assert [attack.attack for attack in each.attacks] == ["exact attack"] * 2
        kept = [np.mean([value > moved for value in values.values()]) for moved in (0.0, reach)]
        assert [attack.accuracy for attack in each.attacks] == pytest.approx(kept)
        assert each.errors[1].wrong == round((1 - kept[1]) * result.n)
    (pair,) = result.pairs
    right = [[value > 0 for value in values.values()] for values in margins]
    assert pair.only_first == sum(a and not b for a, b in zip(*right, strict=True))
    assert pair.only_second == sum(b and not a for a, b in zip(*right, strict=True))
    html = result.page.read_text()
    assert html.count('alt="weights of') == 2 and "What were they trained to avoid?" in html
    networks = [network_of(read_bundle(home / name)) for name in ("regular", "robust")]
    norms = [float(linear_weights(network).detach().abs().sum()) for network in networks]
    assert re.findall(r"<br>‖w‖₁ = ([\d.]+)", html) == [f"{norm:.1f}" for norm in norms]


def test_the_difference_under_attack_is_tested_too(home, compare):
    """The worst of linear models is exact: its margins fall by eps times the norm of the weights."""
    result = compare("regular", "robust", data=home / "zero-one", eps=[0.0, 0.2])
    survived = []
    for name in ("regular", "robust"):
        weights = linear_weights(network_of(read_bundle(home / name))).abs().sum().item()
        margins = by_hand(home, name, home / "zero-one")
        survived.append({file for file, margin in margins.items() if margin > 0.2 * weights})
    (pair,) = result.attacked_pairs
    only = len(survived[0] - survived[1]), len(survived[1] - survived[0])
    assert (pair.eps, pair.only_first, pair.only_second) == (0.2, *only) and sum(only) > 0
    assert pair.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert "Could these differences be luck?" in result.page.read_text()


def test_the_weights_of_both_speak_for_the_same_class(home, compare):
    """Trained with the labels swapped, f(x) must be turned round: a bright middle speaks for 1 in both pictures."""
    from keensight.pipeline.compared import inside, open_entrants
    from keensight.pipeline.labelled import open_for
    from keensight.pipeline.same_pictures import same_pictures

    entrants = open_entrants([home / "regular", home / "robust"])
    bundles = [each.bundle for each in entrants]
    _, parts, _ = same_pictures(open_for(home / "zero-one", bundles), bundles, None, Watcher())
    looked = [inside(each, part, 0.2, "exact") for each, part in zip(entrants, parts, strict=True)]
    w = [each.weights_KCHW[1] - each.weights_KCHW[0] for each in looked]
    assert np.corrcoef(w[0].ravel(), w[1].ravel())[0, 1] > 0.2
    own = linear_weights(network_of(read_bundle(home / "robust"))).detach().numpy().reshape(w[1].shape)
    np.testing.assert_allclose(w[1], -own, atol=1e-5)
    values, labels = looked[1].wrong[1].values_M, looked[1].wrong[1].labels_M
    assert len(values) and ((values > 0) == (labels == 0)).all()


def test_other_models_sizes_and_more_classes(home, compare):
    result = compare("dense", "small", eps=[0.05, 0.0])
    assert [attack.attack for each in result.bundles for attack in each.attacks] == ["FGSM"] * 4
    assert [attack.threat.eps for attack in result.bundles[0].attacks] == [0.0, 0.05]
    for each, name in zip(result.bundles, ("dense", "small"), strict=True):
        values = by_hand(home, name)
        assert result.n == len(values)
        wrong = sorted(-value for value in values.values() if value < 0)
        assert each.errors[0].wrong == len(wrong)
        assert each.errors[0].median_gap == pytest.approx(np.median(wrong), abs=1e-4)
        html = result.page.read_text()
        for where in sorted((where for where in values if values[where] < 0), key=lambda where: -values[where])[:3]:
            assert f'title="{where}"' in html
    assert html.count('alt="weights of B"') == 10 and "What were they trained to avoid?" not in html


def test_other_seeds_are_compared_on_what_both_held_out(home, compare):
    ears = Ears()
    result = compare("dense", "reseeded", eps=[], watcher=ears)
    both = by_hand(home, "dense").keys() & by_hand(home, "reseeded").keys()
    assert result.n == len(both) < 100
    assert list(result.notes) == ears.heard and "drew different test splits" in ears.heard[0]
    assert result.bundles[0].attacks == () and ears.heard[0] in result.page.read_text()


def test_attacks_are_made_when_asked_for_or_free(home, compare, tmp_path, monkeypatch):
    ears, attacked = Ears(), []
    real = compared.outcome
    monkeypatch.setattr(compared, "outcome", lambda *a, **k: attacked.append(a[2].eps) or real(*a, **k))

    result = compare("dense", "small", watcher=ears)
    assert [each.attacks for each in result.bundles] == [(), ()] and attacked == []
    (said,) = ears.heard
    assert "--attack fgsm measures it, in about " in said
    html = result.page.read_text()
    assert "How do they break?" not in html and html.count("confusion matrix") == 2
    pair = [home / "dense", home / "small"]
    none = keensight.compare(pair, "digits", eps=[0.0], out=tmp_path / "zero")
    assert [each.attacks for each in none.bundles] == [(), ()] and attacked == []
    assert keensight.compare(pair, "digits", eps=0, out=tmp_path / "nought").attacked_pairs == ()
    asked = keensight.compare(pair, "digits", eps=[0.0, 0.05], out=tmp_path / "asked")
    assert attacked == [0.05, 0.05]
    for one in (0.05, np.float64(0.05), "0.05"):  # a number is a list of one
        alone = keensight.compare(pair, "digits", eps=one, out=tmp_path / f"one-{type(one).__name__}")
        assert alone.attacked_pairs == asked.attacked_pairs and len(alone.bundles[0].attacks) == 1
    for each in asked.bundles:
        assert each.attacks[0].accuracy == pytest.approx(1 - each.errors[0].wrong / asked.n)
    free = keensight.compare([home / "regular", home / "robust"], home / "zero-one", out=tmp_path / "free")
    assert all(len(each.attacks) == 6 for each in free.bundles)


def test_the_same_twice_gives_the_same_page(home, tmp_path):
    pages = [
        keensight.compare([home / "dense", home / "small"], "digits", eps=[0.1], out=tmp_path / name).page.read_bytes()
        for name in ("one", "two")
    ]
    assert pages[0] == pages[1]


def test_folders(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundles = [home / "dense", home / "small"]
    pages = [keensight.compare(bundles, "digits", eps=[]).page for _ in range(2)]
    assert pages == [Path("comparisons/digits/comparison.html"), Path("comparisons/digits-2/comparison.html")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(RunError, match="mine is not empty. Choose a new or empty folder with --out"):
        keensight.compare(bundles, "digits", out="mine")
    with pytest.raises(RunError, match="comparisons/digits holds a finished comparison already"):
        keensight.compare(bundles, "digits", out="comparisons/digits")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(DataError):
        keensight.compare(bundles, "digits-2", out="new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("names", "options", "error", "text"),
    [
        (["dense"], {}, UsageError, "1 bundle came before DATA, which is last. Give 2 to 8 bundles"),
        ([], {}, UsageError, "0 bundles came before DATA"),
        (["dense"] * 9, {}, UsageError, "9 bundles came before DATA.*2 to 8"),
        (["dense", "dense/bundle"], {}, UsageError, "are the same bundle. Give two different ones"),
        (["dense", "regular"], {}, BundleError, r"2, 3, 4, 5, 6 and 3 more only in .*dense.*same labels, in any order"),
        (["dense", "none"], {}, BundleError, "none does not exist"),
        (["dense", "small"], {"split": "tset"}, UsageError, "There is no split 'tset'"),
        (["dense", "small"], {"eps": [0.1, 2.0]}, UsageError, "An epsilon of 2 .*give --eps 0.0078"),
        (["dense", "small"], {"eps": [float("nan")]}, UsageError, "An epsilon of nan"),
        (["dense", "small"], {"attack": "fsgm"}, UsageError, "There is no attack 'fsgm'. Did you mean 'fgsm'"),
        (["dense", "small"], {"attack": "exact"}, UsageError, "needs linear models of two classes.*--attack fgsm"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(compare, tmp_path, names, options, error, text):
    with pytest.raises(error, match=text):
        compare(*names, **options)
    assert not (tmp_path / "out").exists()


def test_a_bundle_in_the_place_of_data(home, compare):
    with pytest.raises(UsageError, match="DATA comes last, and .*small is a bundle"):
        compare("dense", "reseeded", data=home / "small")
