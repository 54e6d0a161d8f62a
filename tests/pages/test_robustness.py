"""The page of how a model breaks: its words and its numbers."""

from dataclasses import replace

import numpy as np
import pytest

from keensight.evaluation.report import from_dict, to_dict
from keensight.pages.robustness import Fooled, eps_words, render_html, what_breaks
from keensight.values import ClassRobustness, Corrupted, RobustnessReport, Within

REPORT = RobustnessReport(
    n=200,
    clean=0.95,
    corrupted=(
        Corrupted("fog", "fog", "weather", (1, 2, 3), (0.9, 0.6, 0.5)),
        Corrupted("jpeg", "saved as a small JPEG", "digital", (1, 2, 3), (0.95, 0.94, 0.93)),
    ),
    attacked=(Within(2 / 255, 0.8), Within(4 / 255, 0.4), Within(0.1, 0.0)),
    certified=(Within(2 / 255, 0.3), Within(4 / 255, 0.1), Within(0.1, 0.0)),
    shifted=(Within(1, 0.94), Within(2, 0.83)),
    turned=(Within(5, 0.95),),
    eps=4 / 255,
    per_class=(ClassRobustness("<cat>", 100, 0.9, 0.8, 0.35, 0.1), ClassRobustness("dog", 100, 1.0, 0.8, 0.45, 0.1)),
)


def test_what_breaks_first_is_said_in_words():
    said = list(what_breaks(REPORT))
    assert said == [
        "Of everyday changes of middling strength, fog (fog) costs most: 35 points of accuracy.",
        "A shift by up to 2 pixels, in the worst direction, costs 12 points.",
        "An attacker who may change every pixel by 4/255 lowers the accuracy from 95.0\N{NARROW NO-BREAK SPACE}% to "
        "40.0\N{NARROW NO-BREAK SPACE}%.",
        "For 10.0\N{NARROW NO-BREAK SPACE}% of the pictures it is proved that no change of any pixel by 4/255 or less "
        "changes the right answer.",
    ]


def test_an_attack_that_leaves_nothing_is_not_said_to_halve():
    lost = replace(REPORT, clean=0.5, attacked=(Within(0.1, 0.0),))
    assert "An attacker who may change every pixel by 0.1 takes all of the accuracy: no picture stays right." in list(
        what_breaks(lost)
    )
    assert "nothing to take" in " ".join(what_breaks(replace(lost, clean=0.0)))


def test_a_robust_model_is_not_talked_down():
    strong = replace(
        REPORT, corrupted=REPORT.corrupted[1:], attacked=(Within(0.1, 0.9),), certified=(), shifted=(), turned=()
    )
    said = " ".join(what_breaks(strong))
    assert "none costs more than 5 points" in said and "Even within 0.1, attacks leave 90" in said
    assert "masked" in " ".join(what_breaks(replace(strong, gradient_masking=True)))


def test_the_page_tells_of_no_more_than_it_shows():
    all_of_it = render_html(REPORT, [], "b")
    assert "as they are, corrupted as happens every day, changed by an attacker and by proof.</p>" in all_of_it
    quick = replace(REPORT, attacked=(), certified=(), shifted=(), turned=(), eps=None, per_class=())
    page = render_html(quick, [], "b")
    assert "as they are and corrupted as happens every day.</p>" in page and "proof" not in page


def test_the_page_shows_everything_and_escapes_names():
    before = np.full((8, 8, 1), 100, np.uint8)
    after = before.copy()
    after[2, 3] += 8
    html = render_html(
        REPORT,
        [Fooled(before, after, 8 / 255, "<cat>", "dog", (8.14, 2.2), (-1, 3))],
        "mine & yours",
        ["3 were learnt"],
    )
    assert "&lt;cat&gt;" in html and "<cat>" not in html and "mine &amp; yours" in html
    assert "for <b><bdi>&lt;cat&gt;</bdi></b> 8.1 and 2.2, for <b><bdi>dog</bdi></b> -1.0 and 3.0." in html
    for text in (
        "Attacked, 4/255",
        "Certified, 4/255",
        "2 pixels",
        "5 degrees",
        "saved as a small JPEG",
        "Severity 3",
        "3 were learnt",
        "33.5\N{NARROW NO-BREAK SPACE}% to 46.9",
    ):
        assert text in html
    assert html.count("<img") == 3 and html.count('role="img"') == 1


def test_what_was_not_measured_is_not_shown():
    quick = RobustnessReport(100, 0.9, REPORT.corrupted)
    html = render_html(quick, [], "quick")
    assert "Attacked" not in html and "Moved and turned" not in html and "<img" not in html
    why = render_html(replace(REPORT, certified=(), why_not_certified="Its layer 3 has no bounds."), [], "why")
    assert "Not certified: Its layer 3 has no bounds." in why and '<th class="n">Certified' not in why


@pytest.mark.parametrize(("eps", "words"), [(1 / 255, "1/255"), (8 / 255, "8/255"), (0.3, "0.3"), (0.0123, "0.0123")])
def test_epsilons_are_levels_where_they_are(eps, words):
    assert eps_words(eps) == words


def test_the_report_keeps_it(trained):
    report = replace(trained.report, robustness=REPORT)
    assert from_dict(to_dict(report)) == report
    quick = trained.report.robustness
    assert len(quick.corrupted) == 15 and quick.attacked == () and 0 < quick.mean_corrupted < quick.clean
