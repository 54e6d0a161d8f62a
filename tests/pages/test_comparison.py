import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keensight.evaluation.comparison import Compared, Comparison, Errors, Pair
from keensight.evaluation.metrics import metrics
from keensight.pages.comparison import CloseCall, Inside, Wrong, differences, fixed_answers, luck, render_html, verdict
from keensight.robustness.attacks.table import ATTACKS
from keensight.values import AttackResult, Threat

NASTY = "<script>alert(1)</script>"
PICTURE = np.zeros((4, 4, 1), np.uint8)


def compared(letter, right, name="run", attacks=(0.9, 0.4)):
    labels = np.arange(10) % 2
    probabilities = np.where(np.arange(10)[:, None] < right, np.eye(2)[labels], np.eye(2)[1 - labels]) * 0.8 + 0.1
    found = metrics(probabilities, labels, ("cat", "dog"))
    results = tuple(AttackResult("FGSM", Threat("linf", e), a, 10) for e, a in zip((0.0, 0.2), attacks, strict=False))
    wrong = (Errors(0.0, 10, 10 - right, 0.5), Errors(0.2, 10, 6, 1.5))[: 1 + (len(attacks) > 1)]
    return Compared(letter, name, Path(f"runs/{name}/bundle"), "linear", 17, found, results, wrong)


def inside(errors, loss="hinge", eps=0.0, weights=True):
    call = CloseCall("dog/7.png", "dog", NASTY, 0.25, PICTURE)
    wrong = tuple(Wrong(each, np.array([0.5, -1.0]), np.array([0, 1]), (call,)) for each in errors)
    w_KCHW = np.stack([np.zeros((1, 4, 4)), np.full((1, 4, 4), 0.5)]) if weights else None
    return Inside(wrong, w_KCHW, {"loss": loss, "eps": eps}, eps if "hinge" in loss else None)


def comparison(*bundles, notes=()):
    return Comparison(
        "pets", "test", 10, bundles, (Pair("A", "B", 3, 1, 0.625),), notes, Path("comparisons/pets/comparison.html")
    )


def page(first=None, second=None, labels=("cat", "dog"), notes=(), attack=ATTACKS["fgsm"], **second_inside):
    bundles = (first or compared("A", 9, "regular"), second or compared("B", 7, "robust"))
    insides = [inside(bundles[0].errors), inside(bundles[1].errors, **second_inside)]
    return render_html(comparison(*bundles, notes=notes), insides, labels, attack)


def plain(html):
    text = re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(text.replace("\u202f", " ").replace("\u2060", "").split())


def test_the_page_loads_nothing_and_runs_nothing():
    html = page()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    assert "<script" not in html and not re.search(r'(src|href)="(?!data:|#)', html)
    assert not re.search(r"url\((?!#)", html)


def test_the_page_says_what_an_attack_can_do():
    worst = "For linear models of two classes this is the worst that can be done; pixels may leave [0, 1]."
    assert worst in plain(page(attack=ATTACKS["exact"]))
    assert "the worst that can be done" not in plain(page()) and "may leave" not in plain(page())


def test_a_model_that_always_answers_alike_is_told_off():
    labels = np.arange(10) % 2
    fixed = metrics(np.tile([0.1, 0.9], (10, 1)), labels, ("cat", "dog"))
    said = verdict(comparison(compared("A", 9), replace(compared("B", 5), metrics=fixed)))
    assert "B always answers “dog”, whatever the picture. When every pixel" in said and "A always" not in said
    dogs_alone = metrics(np.tile([0.1, 0.9], (10, 1)), np.ones(10, int), ("cat", "dog"))
    assert fixed_answers([replace(compared("B", 5), metrics=dogs_alone)]) == []


def test_names_from_outside_are_text():
    nasty = compared("A", 9, NASTY)
    html = page(nasty, notes=(NASTY,), labels=(NASTY, "dog"))
    assert "<script" not in html and html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def test_it_has_every_section_for_two_hinge_models():
    text = plain(page(loss="robust-hinge", eps=0.2))
    for heading in ("Which is better?", "Could the difference be luck?", "How do they break?", "What do they look at?",
                    "Which mistakes are close calls?", "How sure are they when wrong?",
                    "What were they trained to avoid?", "What was compared?"):  # fmt: skip
        assert heading in text
    assert "‖w‖₁ = 8.0" in text  # 16 weights of 0.5
    assert "robust hinge loss, which falls to 0 only at a margin of 1 + 0.2 · ‖w‖₁ = 2.60" in text
    assert "an attacker with epsilon 0.2 can take 1.6 of it" in text
    assert "called <script>".replace("<", "&lt;").replace(">", "&gt;") in text and "is dog , by 0.25" in text
    assert "1 of 10 wrong, by 0.5" in text and "3 of 10 wrong, typically by 0.5" in text
    assert "A and B 3 1 0.62 the difference may be luck" in text
    assert "loss hinge robust-hinge" in text and "eps 0 0.2" in text


def test_sections_that_have_nothing_to_show_are_left_out():
    bundles = (compared("A", 9, attacks=()), compared("B", 7, attacks=()))
    insides = [inside(each.errors, loss="cross-entropy", weights=False) for each in bundles]
    text = plain(render_html(comparison(*bundles), insides, ("cat", "dog"), ATTACKS["fgsm"]))
    for heading in ("How do they break?", "What do they look at?", "What were they trained to avoid?", "Attacked"):
        assert heading not in text
    assert "How sure are they when wrong?" in text


def test_regular_and_robust_share_one_colour_scale():
    bundles = (compared("A", 9), compared("B", 7))
    insides = [inside(each.errors) for each in bundles]
    insides[1] = replace(insides[1], weights_KCHW=insides[1].weights_KCHW * 0.5)
    html = render_html(comparison(*bundles), insides, ("cat", "dog"), ATTACKS["fgsm"])
    pictures = re.findall(r'<img src="([^"]+)" alt="weights of [AB]">', html)
    assert len(pictures) == 2 and pictures[0] != pictures[1]
    assert "-0.5 +0.5" in plain(html) and insides[1].norm == pytest.approx(4.0)


def test_weights_of_more_classes_are_one_picture_each():
    bundles = (compared("A", 9), compared("B", 7))
    w_KCHW = np.random.default_rng(0).normal(size=(3, 1, 4, 4))
    insides = [replace(inside(each.errors, weights=False), weights_KCHW=w_KCHW) for each in bundles]
    html = render_html(comparison(*bundles), insides, ("cat", "dog", "emu"), ATTACKS["fgsm"])
    assert len(re.findall(r'alt="weights of A"', html)) == 3
    centred = w_KCHW - w_KCHW.mean(axis=0)
    assert f"+{np.abs(centred).max():.2g}" in plain(html)


def test_the_verdict():
    said = verdict(comparison(compared("A", 9), compared("B", 7, attacks=(0.7, 0.6)))).replace("\u202f", " ")
    assert said == (
        "A is right on 90.0 % of 10 pictures, B on 70.0 %; the difference may be luck. When every pixel may move by "
        "0.2, A on 40.0 %, B on 60.0 %."
    )
    without = comparison(compared("A", 7, attacks=()), compared("B", 9, attacks=()))
    assert verdict(without).startswith("B is right") and "pixel" not in verdict(without)


@pytest.mark.parametrize(
    ("counts", "p", "said"),
    [
        ((0, 0), 1.0, "they are right on the very same pictures"),
        ((3, 1), 0.625, "the difference may be luck"),
        ((30, 1), 0.0001, "the difference is hardly luck"),
    ],
)
def test_luck(counts, p, said):
    assert luck(Pair("A", "B", *counts, p)) == said


def test_a_key_that_an_older_bundle_lacks_is_no_difference_if_empty():
    assert differences([{"fill": "", "seed": 0}, {"seed": 1}]) == [("seed", [0, 1])]


def test_a_file_name_that_is_no_text_can_be_written():
    html = page(notes=("b\udcffd",))
    assert "b\\udcffd" in html.encode().decode()
