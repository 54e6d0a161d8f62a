import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from keensight.pages import comparison_figures as figures
from keensight.pages.figures import accuracy_over_eps

SVG = "{http://www.w3.org/2000/svg}"
EDGES = np.linspace(-4, 4, 9)
HOSTILE = ("<script>alert(1)</script>", "$\\frac{1}")


def attacks(count):
    return {letter: {eps: 0.9 - eps for eps in (0.3, 0.0, 0.1)} for letter in "ABCDEFGH"[:count]}


def drawn(which):
    return {
        "attacks": lambda: accuracy_over_eps(attacks(8)),
        "histogram": lambda: figures.margin_histogram(
            np.array([1.0, 2.0, -3.0]), np.array([0, 0, 1]), EDGES, HOSTILE, "A"
        ),
        "gaps": lambda: figures.margin_histogram(np.array([-1.0]), np.array([0]), EDGES, ("a", "b", "c"), "A"),
        "hinge": lambda: figures.hinge_curves(0.2, 10.0, (-2.0, 5.0), 5.0, "B"),
    }[which]()


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def lines(svg, colour):
    """The points of every line of a colour, in the view box's units; y grows downwards."""
    paths = [
        node for node in ET.fromstring(svg).iter(f"{SVG}path") if f"stroke: var(--{colour}" in node.get("style", "")
    ]
    return [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d")), dtype=float) for path in paths]


@pytest.mark.parametrize("name", ["attacks", "histogram", "gaps", "hinge"])
def test_figures_are_the_same_bytes_each_time_and_follow_the_page(name):
    svg = drawn(name)
    assert svg == drawn(name)
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg" and not list(root.iter(f"{SVG}script"))
    assert not re.search(r"<(style|metadata)|<!--|@@", svg)
    assert "#0" not in re.sub(r"var\([^)]*\)", "", svg), "a colour that does not follow the page"


@pytest.mark.parametrize("count", [2, 4, 8])
def test_each_bundle_has_a_line_of_its_own(count):
    svg = accuracy_over_eps(attacks(count))
    assert [text for text in texts(svg) if text in set("ABCDEFGH")] == list("ABCDEFGH"[:count])
    curves = [
        line
        for colour in ("blue", "orange")
        for line in lines(svg, colour)
        if len(line) == 3 and np.ptp(line[:, 1]) > 0
    ]
    assert len(curves) == len([i for i in range(count) if i % 4 < 2])
    for curve in curves:
        assert (np.diff(curve[:, 0]) > 0).all(), "from the least epsilon to the largest"
        assert (np.diff(curve[:, 1]) > 0).all(), "down, in SVG's units"
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])
    assert all(float(y) > 0 for y in re.findall(r'<text[^>]* y="(-?[\d.]+)"', svg)) and height < 330


def test_mistakes_of_two_classes_lie_on_their_sides_of_zero():
    svg = figures.margin_histogram(np.array([1.5, 2.5, 2.6, -3.5]), np.array([0, 0, 0, 1]), EDGES, ("cat", "dog"), "A")
    assert {"cat called dog", "dog called cat"} <= set(texts(svg))
    (middle,) = {line[0, 0] for line in lines(svg, "muted") if len(line) == 2 and 100 < line[0, 0] == line[1, 0]}
    base = max(line[:, 1].max() for colour in ("blue", "orange") for line in lines(svg, colour))
    for colour, side, heights in (("blue", 1, [1, 2]), ("orange", -1, [1])):
        steps = max(lines(svg, colour), key=len)
        raised = steps[steps[:, 1] < base - 1]
        assert (side * (raised[:, 0] - middle) >= -0.01).all()
        tops = sorted({round((base - y) / (base - raised[:, 1].min()) * max(heights), 2) for y in raised[:, 1]})
        assert tops == pytest.approx(heights)


def test_more_classes_have_one_kind_of_mistake():
    assert "mistakes" in texts(drawn("gaps")) and not any("called" in text for text in texts(drawn("gaps")))


def test_hostile_names_are_text_and_nothing_else():
    assert "<script>ale… called $\\frac{1}" in texts(drawn("histogram"))


def test_hinge_curves_bend_where_they_should():
    """From -2 to 5 with eps ||w||_1 = 2: hinge bends at 1, robust hinge at 3, and is 2 higher at the left."""
    svg = drawn("hinge")
    hinge, robust = max(lines(svg, "blue"), key=len), max(lines(svg, "orange"), key=len)
    left, right = hinge[0, 0], hinge[-1, 0]
    unit_x, bottom = (right - left) / 7, hinge[-1, 1]
    unit_y = (bottom - hinge[0, 1]) / 3  # the loss at -2 is 3
    where = {line.tobytes(): line for line in (hinge, robust)}
    for line, bend, start in zip(where.values(), (1, 3), (3, 5), strict=True):
        at_zero = line[np.abs(line[:, 1] - bottom) < 0.02][0, 0]
        assert (at_zero - left) / unit_x - 2 == pytest.approx(bend, abs=0.01)
        assert (bottom - line[0, 1]) / unit_y == pytest.approx(start, abs=0.01)
    assert "robust hinge, eps 0.2" in texts(svg)
    assert not any("robust" in text for text in texts(figures.hinge_curves(0.0, 10.0, (-2.0, 5.0), 5.0, "A")))


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_weights_share_a_scale_and_zero_is_clear():
    weights = np.array([[[0.0, 2.0], [-1.0, 0.5]]])
    shown = pixels(figures.weight_picture(weights, 2.0, height_px=2))
    assert shown.shape == (2, 2, 4)
    assert shown[0, 0, 3] == 0
    assert tuple(shown[0, 1]) == (0, 114, 178, 255)
    assert tuple(shown[1, 0][:3]) == (213, 94, 0) and shown[1, 0, 3] == pytest.approx(255 / 2, abs=6)
    half = pixels(figures.weight_picture(weights, 4.0, height_px=2))
    assert half[0, 1, 3] == pytest.approx(255 / 2, abs=6), "the same weight beside a model of larger ones is fainter"
    assert not pixels(figures.weight_picture(np.zeros((3, 2, 2)), 0.0, height_px=2))[..., 3].any()


def test_the_scale_runs_from_orange_over_clear_to_blue():
    row = pixels(figures.colour_scale())[0]
    assert tuple(row[0]) == (213, 94, 0, 255) and tuple(row[-1]) == (0, 114, 178, 255)
    assert row[len(row) // 2, 3] < 10


def test_names_in_a_legend_are_not_printed_over_each_other():
    """Each name has a line of its own where it is longer than what matplotlib lays out for it."""
    svg = figures.margin_histogram(
        np.array([-1.0, 2.0]), np.array([1, 0]), np.linspace(-3, 3, 7), ("husky", "nothusky"), "A"
    )
    nodes = {"".join(node.itertext()): node for node in ET.fromstring(svg).iter(f"{SVG}text")}
    said = [nodes[name] for name in ("husky called nothusky", "nothusky called husky")]
    heights = [re.findall(r"-?[\d.]+", node.get("y"))[-1] for node in said]
    assert heights[0] != heights[1]
