import json
import shutil

import numpy as np
import pytest

import keensight
from keensight.errors import RunError, UsageError
from keensight.pipeline import beforehand
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import outcome
from keensight.values import Split, Threat


@pytest.fixture(scope="module")
def attacked(trained):
    return keensight.attack(trained.bundle, "digits", eps=[0.1, 0.02], steps=10, most=60, split="test")


def test_accuracy_falls_with_epsilon_and_with_every_attack(trained, attacked):
    clean, small, large = attacked.survivals
    assert [each.eps for each in attacked.survivals] == [0, 0.02, 0.1] and attacked.n == clean.n == 60
    assert clean.accuracy > 0.9 and clean.accuracy >= small.accuracy >= large.accuracy
    assert large.accuracy < 0.9 and large.accuracy_low < large.accuracy < large.accuracy_high
    for each in (small, large):
        left = list(each.after.values())
        assert left == sorted(left, reverse=True) and left[-1] == each.accuracy
    assert 0.02 < large.median_distance <= 0.1 + 1e-6 and not attacked.gradient_masking
    assert attacked.split == "test" and attacked.norm == "linf"


def test_no_single_attack_leaves_fewer(trained, attacked):
    from keensight.bundle.network import network_of
    from keensight.pipeline.part import open_part

    part = open_part(trained.bundle, "digits", "test", None, None, Watcher())
    model, pictures = network_of(part.bundle), part.pictures.thinned(60)
    for name in ("fgsm", "pgd", "apgd-t"):
        alone = outcome(model, pictures, Threat("linf", 0.1, 10), name, part.bundle.borders)
        assert attacked.survivals[-1].accuracy <= alone.accuracy + 1 / 60


def test_the_same_seed_gives_the_same_figures(trained, attacked):
    assert keensight.attack(trained.bundle, "digits", eps=[0.02, 0.1], steps=10, most=60, split="test") == attacked


@pytest.mark.parametrize(("norm", "eps"), [("l2", [0.5]), ("shift", [1]), ("rotation", [20])])
def test_other_norms(trained, norm, eps):
    found = keensight.attack(trained.bundle, "digits", norm=norm, eps=eps, steps=5, most=40)
    assert found.norm == norm and found.survivals[1].accuracy < found.survivals[0].accuracy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": [8]}, "An epsilon of 8 .* give --eps 0.03137 for 8 levels of 255"),
        ({"eps": [-0.1]}, "An epsilon of -0.1"),
        ({"eps": [float("nan")]}, "An epsilon of nan"),
        ({"norm": "l1"}, "There is no norm 'l1'. Did you mean 'l2'"),
        ({"norm": "shift", "eps": [0.5]}, "Give whole numbers"),
        ({"norm": "rotation", "eps": [200]}, "give numbers from 0 to 180"),
        ({"attacks": ["squares"]}, "There is no attack 'squares'. Did you mean 'square'"),
        ({"attacks": ["fgsm"], "norm": "l2"}, "'fgsm' attacks within linf, not within l2. Give --norm linf"),
        ({"attacks": ["exact"]}, "The exact attack needs linear models of two classes"),
        ({"steps": 0}, "--steps is 0. Give a whole number of at least 1"),
        ({"most": -1}, "--most is -1"),
        ({"most": "3"}, "--most is '3'"),
        ({"eps": []}, "No epsilon is in the list"),
        ({"eps": [True]}, "An epsilon of True"),
        ({"norm": "shift", "eps": 8}, "pictures of 8x8, of which that leaves nothing. Give less than 8"),
        ({"split": "tset"}, "There is no split 'tset'"),
    ],
)
def test_what_makes_no_sense_is_refused(trained, options, words):
    with pytest.raises(UsageError, match=words):
        keensight.attack(trained.bundle, "digits", **{"eps": [0.1], "steps": 1, "most": 5} | options)


def test_pictures_that_were_learnt_are_in_the_notes(trained):
    options = {"eps": "8/255", "split": "train", "most": 2}
    attacked = keensight.attack(trained.bundle, "digits", attacks=["fgsm"], steps=1, **options)
    certified = keensight.certify(trained.bundle, "digits", **options)
    assert attacked.survivals[1].eps == certified.shares[0].eps == 8 / 255
    for found in (attacked, certified):
        assert "were among those that the model learnt from" in found.notes[0]


def test_without_weights_it_is_attacked_by_its_answers(trained, tmp_path):
    bundle = shutil.copytree(trained.bundle, tmp_path / "bundle")
    (bundle / "model.safetensors").unlink()
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["files"].remove("model.safetensors")
    (bundle / "bundle.json").write_text(json.dumps(facts))
    found = keensight.attack(bundle, "digits", eps=[0.2], steps=10, most=40)
    assert list(found.survivals[1].after) == ["square attack"] and "need no gradients" in found.notes[0]
    assert found.survivals[1].accuracy < found.survivals[0].accuracy


def test_the_page_has_all_four_numbers(trained, tmp_path, monkeypatch):
    found = keensight.attack(trained.bundle, "digits", eps=0.05, steps=5, most=40, split="test", out=tmp_path / "page")
    facts = json.loads((tmp_path / "page" / "robustness.json").read_text())
    assert found.page == tmp_path / "page" / "robustness.html" and len(facts["corrupted"]) == 15
    assert (
        0.1 in {each["eps"] for each in facts["attacked"]}
        and facts["eps"] == 0.05
        and "Attacking 40 of" in facts["notes"][0]
    )
    at = {each["eps"]: each["share"] for each in facts["attacked"]}
    for each in facts["certified"]:
        assert each["share"] <= at[each["eps"]] <= facts["clean"]  # a proof is never beaten by an attack
    assert sum(row["n"] for row in facts["per_class"]) == 40
    html = found.page.read_text()
    assert "Everyday corruptions" in html and html.count('alt="the difference, enlarged"') >= 1 and "http:" not in html
    monkeypatch.setattr("keensight.verbs.attack.ensemble", lambda *_: 1 / 0)  # the folder is looked at first
    with pytest.raises(RunError, match="page"):
        keensight.attack(trained.bundle, "digits", eps=[0.1], steps=1, most=5, out=tmp_path / "page")


def test_the_page_has_what_was_asked_for_in_l2(trained, tmp_path):
    found = keensight.attack(
        trained.bundle, "digits", norm="l2", eps=[0.3, 0.8], steps=5, most=20, split="test", out=tmp_path / "page"
    )
    facts = json.loads((tmp_path / "page" / "robustness.json").read_text())
    wanted = [{"eps": each.eps, "share": each.accuracy} for each in found.survivals[1:]]
    assert facts["l2"] == wanted and wanted[1]["share"] < facts["clean"]
    html = found.page.read_text()
    section = html[html.index("Changed within l2") : html.index("</table>", html.index("Changed within l2"))]
    assert '<th scope="row">0.3</th>' in section and f"{100 * wanted[1]['share']:.1f}" in section


def test_how_long_it_takes_is_said_beforehand(trained, monkeypatch):
    told = []

    class Ears(Watcher):
        def note(self, text):
            told.append(text)

    monkeypatch.setattr(beforehand, "WORTH_S", 0.0)
    monkeypatch.setattr(beforehand, "LEAST", 2)
    monkeypatch.setattr(beforehand, "SLOW_S", float("inf"))
    for attack, options in ((keensight.attack, {"steps": 10, "attacks": ["fgsm"]}), (keensight.certify, {})):
        attack(trained.bundle, "digits", eps=[0.001], most=20, watcher=Ears(), **options)
        (said,) = (each for each in told if each.startswith("This takes about "))
        assert said.endswith(" s, by the time for 2 of the 20 pictures.")
        told.clear()


def test_the_time_for_all_is_that_for_a_few_times_how_many_more_there_are(monkeypatch):
    told, seen = [], []

    class Ears(Watcher):
        def note(self, text):
            told.append(text)

    clock = iter([50.0, 50.1, 100.0, 101.5, 200.0, 200.0, 201.0, 201.01, 300.0, 300.01, 400.0, 402.0])
    monkeypatch.setattr(beforehand.time, "monotonic", lambda: next(clock))
    pictures = Split(np.zeros((1600, 2, 2, 1), np.uint8), np.arange(1600), np.zeros(1600, np.int64), ("",) * 1600)
    beforehand.say_how_long(Ears(), pictures, seen.append, of=100, share=0.5)  # 1.5 s x 2 x 100
    assert told == ["This takes about 5 min 0 s, by the time for 16 of the 1,600 pictures."]
    beforehand.say_how_long(Ears(), pictures, seen.append, of=100)  # a second is not worth a sentence
    beforehand.say_how_long(Ears(), pictures.thinned(100), seen.append, of=2)  # and these are as soon done
    assert len(told) == 1 and [len(each) for each in seen] == [1, 16, 1, 16, 1]
    beforehand.say_how_long(Ears(), pictures.thinned(5), seen.append, of=16, share=0.1)  # few, but slow: 2 s x 10 x 5
    assert told[1:] == ["This takes about 1 min 40 s, by the time for 1 of the 5 pictures."]
