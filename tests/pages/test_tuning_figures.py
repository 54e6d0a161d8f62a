import re

import numpy as np
import pytest

from keensight.pages.tuning_figures import importance_bars, lr_curve, panels, progress
from keensight.training.lr_range import read_curve
from keensight.training.search_space import Dimension
from keensight.training.tune import Trial

SPACE = (
    Dimension("learning_rate", 1e-4, 1e-1, log=True),
    Dimension("weight_decay", choices=(0.0, 0.001)),
    Dimension("flip", choices=(False, True)),
    Dimension("dropout", 0.0, 0.5),
)


def trial(number, accuracy, state="finished"):
    values = {"learning_rate": 0.001 * (number + 1), "weight_decay": 0.0, "flip": number % 2 == 0, "dropout": 0.1}
    return Trial(number, state, values, accuracy, None if accuracy is None else 1.0, 1, 1.0)


TRIALS = [trial(0, 0.90), trial(1, 0.91), trial(2, 0.89, "pruned"), trial(3, None, "failed"), trial(4, 0.92)]


def markers(svg, colour):
    """How many markers of a colour are drawn: matplotlib makes each a `use`."""
    return len(re.findall(rf"<use [^>]*(?:fill|stroke): ?var\(--{colour}", svg))


def test_progress_has_a_marker_for_each_trial():
    svg = progress(TRIALS, (0.85, 0.93))
    alone = progress(TRIALS[:1], (0.85, 0.93))
    more = [markers(svg, colour) - markers(alone, colour) for colour in ("blue", "muted", "orange")]
    # one more of each kind stands in the legend; the axis has ticks of no length
    assert more[0] == 2 + 1
    assert more[1] >= 1 + 1
    assert more[2] == 1 + 1
    assert "the recipe as it is, 95 % interval" in svg
    assert "interval" not in progress(TRIALS, None)


def test_there_is_a_panel_for_each_key():
    """Each trial with an accuracy is one marker in each of them."""
    svg = panels(SPACE, TRIALS)
    for dimension in SPACE:
        assert dimension.key in svg
    assert "false" in svg
    one = panels(SPACE[:1], TRIALS)
    assert markers(svg, "blue") - markers(one, "blue") == 2 * (len(SPACE) - 1)


def test_bars_name_their_keys():
    svg = importance_bars({"learning_rate": 0.75, "dropout": 0.25})
    assert svg.index("learning_rate") < svg.index("dropout")
    assert "75%" in svg


@pytest.mark.parametrize("end", [0.1, 100.0])
def test_the_curve_names_its_marks(end):
    rates = np.geomspace(1e-6, end, 200)
    found = read_curve(rates, np.where(rates < 0.1, 1.5 - np.tanh(np.log10(rates) + 3), 4.0))
    svg = lr_curve(found, 0.02)
    for word in ("each batch", "smoothed", "recipe 0.02", f"suggested {found.suggested:g}", f"lowest {found.lowest:g}"):
        assert word in svg
    assert ("diverges" in svg) == (found.diverges is not None) == (end > 1)


def test_same_input_same_bytes():
    assert panels(SPACE, TRIALS) == panels(SPACE, TRIALS)
