import re
from xml.etree import ElementTree

import numpy as np
import pytest

from keensight.evaluation.gain import gain
from keensight.pages.tuning import cautions, hint, lr_verdict, plain, ranked, render_lr_range, render_tuning, verdict
from keensight.training.lr_range import read_curve
from keensight.training.search_space import Dimension
from keensight.training.tune import Trial
from keensight.values import Recipe

RECIPE = Recipe().having(name="a <b>recipe</b>", model="dense", epochs=10)
SPACE = (
    Dimension("learning_rate", 1e-4, 1e-1, log=True),
    Dimension("batch_size", choices=(32, 64, 128)),
    Dimension("epochs", 3, 20, log=True, whole=True),
    Dimension("dropout", 0.0, 0.5),
    Dimension("flip", choices=(False, True)),
)


def trial(number, accuracy=None, state="finished", reason=""):
    values = {
        "learning_rate": 10 ** (-number % 3 - 3.5), "batch_size": (32, 64, 128)[number % 3], "epochs": 5 + number,
        "dropout": 0.1, "flip": number % 2 == 0,
    }  # fmt: skip
    loss = None if accuracy is None else 1 - accuracy
    return Trial(number, state, values, accuracy, loss, 3, 1.5, reason=reason)


TRIALS = [
    trial(0, 0.90), trial(1, 0.85), trial(2, 0.95), trial(3, 0.5, "pruned"),
    trial(4, None, "failed", "the loss is <no> number"), trial(5, 0.95), trial(6, 0.93),
]  # fmt: skip
SHARES = {"learning_rate": 0.6, "dropout": 0.4}


def page(trials=TRIALS, found=None, shares=SHARES, recipe=RECIPE, is_over=True):
    winner = max((t for t in trials if t.state == "finished"), key=lambda t: (t.val_accuracy, -t.number))
    return render_tuning(
        name="digits", recipe=recipe, space=SPACE, trials=trials, winner=winner, found=found or gain(95, 100, 90, 100),
        shares=shares, num_val=100, seconds=75.0, command="keensight train 'my data' --recipe best.toml",
        is_over=is_over,
    )  # fmt: skip


def svgs(html):
    found = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    for svg in found:
        ElementTree.fromstring(svg.replace(' role="img"', ""))
    return found


def test_the_page_stands_alone_and_has_everything():
    html = page()
    assert len(svgs(html)) == 3
    assert not re.search(r'(src|href)="?http', html) and "<script" not in html
    assert "<b>recipe</b>" not in html and "a &lt;b&gt;recipe" in html
    assert "the loss is &lt;no&gt; number" in html
    assert "keensight train &#39;my data&#39; --recipe best.toml" in html
    assert "5 finished, 1 stopped early, 1 failed" in html
    for dimension in SPACE:
        assert dimension.key in html


def test_the_advice_and_the_state_of_the_search_are_said():
    real = page(found=gain(95, 100, 50, 100))
    assert "Train with it: <code>" in real and "as good, as far as" not in real and "was interrupted" not in real
    assert "As far as these pictures can tell, the unchanged recipe is as good. Train with that: <code>" in page()
    assert "The search was interrupted: these are the trials that had ended." in page(is_over=False)


def test_the_table_is_best_first():
    assert [t.number for t in ranked(TRIALS)] == [2, 5, 6, 0, 1, 3, 4]
    rows = re.findall(r'scope="row" class="n"[^>]*>(\d+)<', page())
    assert rows == ["2", "5", "6", "0", "1", "3", "4"]


@pytest.mark.parametrize("trials", [TRIALS[:1], [trial(0, None, "failed", "memory"), trial(1, 0.5)], TRIALS[:2]])
def test_few_trials_make_a_page_too(trials):
    html = page(trials, shares={})
    assert len(svgs(html)) == 2
    assert "Too few trials finished" in html


def test_the_verdict_says_what_the_gain_is_worth():
    winner = TRIALS[2]
    noise, sure = gain(95, 100, 90, 100), gain(9500, 10000, 9000, 10000)
    assert "within the noise" in verdict(TRIALS, winner, noise, 100)
    assert "+5.0 points" in verdict(TRIALS, winner, noise, 100)
    assert "which is more than chance" in verdict(TRIALS, winner, sure, 10000)
    assert "No trial is better" in verdict(TRIALS, TRIALS[0], gain(90, 100, 90, 100), 100)
    assert "nothing to compare" in verdict(TRIALS, winner, None, 100)


def test_what_must_not_be_missed():
    said = cautions(TRIALS, gain(95, 100, 90, 100), 100)
    assert "The best of 5 trials was chosen on these 100 validation pictures" in said[0]
    assert "test pictures took no part" in said[0]
    assert "contains zero" in said[1]
    assert len(cautions(TRIALS, gain(9500, 10000, 9000, 10000), 10000)) == 1
    assert cautions(TRIALS[:1], gain(90, 100, 90, 100), 100) == []
    assert cautions([trial(0, None, "failed", "memory ran out")], None, 100) == [
        "The recipe as it is failed: memory ran out"
    ]


def test_few_trials_are_called_a_hint():
    assert hint(TRIALS, SHARES) == "a hint only: 5 finished trials are few to tell 2 keys apart"
    assert "Too few trials finished (5)" in hint(TRIALS, {})
    assert hint(TRIALS * 10, SHARES) == ""


def test_values_as_people_write_them():
    assert [plain(value) for value in (True, 0.000310, 12, "adamw")] == ["true", "0.00031", "12", "adamw"]


# --- range test ------------------------------------------------------------------------------------------------------

RATES = np.geomspace(1e-6, 100, 240)
CURVE = read_curve(RATES, np.where(RATES < 0.1, 1.5 - np.tanh(np.log10(RATES) + 3), 4.0))


def test_the_range_tests_page():
    html = render_lr_range("digits", RECIPE, CURVE, "keensight train digits --set learning_rate=0.009")
    assert len(svgs(html)) == 1
    assert f"suggested {CURVE.suggested:g}" in html
    assert "--set learning_rate=0.009" in html
    assert "a &lt;b&gt;recipe" in html


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1.0, "far too large"), (CURVE.lowest * 1.2, "too large"), (CURVE.suggested, "as good"),
        (CURVE.suggested * 5, "closer to the edge"), (CURVE.suggested / 5, "smaller than that, and safe"),
        (CURVE.suggested / 50, "will be slow"),
    ],
)  # fmt: skip
def test_the_recipes_rate_is_placed(rate, words):
    assert words in lr_verdict(CURVE, Recipe().having(learning_rate=rate))
