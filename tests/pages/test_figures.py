import base64
import io
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from keensight.evaluation.metrics import metrics
from keensight.pages import figures
from keensight.pages.drawing import shorten, shorten_all, text_width
from keensight.values import AttackResult, Epoch, Threat

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x>',
    "$\\frac{1}",
    "--> ]]> & \x00\x1b",
    "日本語の名前です長い長い",
    "@@0@@",
)
HISTORY = [
    Epoch(i + 1, 2 * 0.8**i, 1 - 0.8**i / 2, 1.9 * 0.82**i, 0.9 - 0.8**i / 2, 1e-3, 1, i in (0, 4)) for i in range(9)
]


def measured(names, n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), n)
    probabilities = rng.dirichlet(np.ones(len(names)), n) + 0.8 * np.eye(len(names))[labels]
    return metrics(probabilities / probabilities.sum(axis=1, keepdims=True), labels, names)


def drawn(which, names):
    """Draw one kind of figure from the same made-up measurements each time."""
    attacks = [AttackResult(name, Threat("linf", eps), 0.9 - eps, 50) for name in names[:2] for eps in (0.1, 0.3)]
    return {
        "curves": lambda: figures.curves(HISTORY),
        "confusion": lambda: figures.confusion_matrix(measured(names), names),
        "reliability": lambda: figures.reliability_diagram(measured(names)),
        "f1": lambda: figures.f1_bars(measured(names).per_class),
        "attack": lambda: figures.attack_curve(attacks, 0.95),
    }[which]()


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["curves", "confusion", "reliability", "f1", "attack"])
def test_figures_are_the_same_bytes_each_time_and_stand_alone(name):
    svg = drawn(name, ("cat", "dog", "emu"))
    assert svg == drawn(name, ("cat", "dog", "emu"))
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    assert "viewBox" in svg and not re.search(r"<(script|style|metadata)|<!--", svg)
    assert not re.search(r'(href|src)="(?!#|data:)|url\((?!#)', svg)
    # Every colour follows the page, with a fallback: none of the marker colours is left, and none is fixed.
    assert "#0" not in re.sub(r"var\([^)]*\)", "", svg)
    assert "var(--ink,#1c2024)" in svg
    assert 'id="figure_1"' not in svg


def test_no_figure_needs_pyplot():
    assert "matplotlib.pyplot" not in sys.modules or "keensight" not in str(sys.modules["matplotlib.pyplot"])
    assert "pyplot" not in vars(figures)


@pytest.mark.parametrize("name", ["confusion", "f1", "attack"])
def test_hostile_names_are_text_and_nothing_else(name):
    svg = drawn(name, HOSTILE)
    root = ET.fromstring(svg)
    assert not list(root.iter(f"{SVG}script")) and not list(root.iter(f"{SVG}img"))
    assert "<script>alert(…" in texts(svg) or shorten(HOSTILE[0]) in texts(svg)
    assert "@@1@@" not in svg


def test_a_name_that_looks_like_a_placeholder_stays_as_it_is():
    assert "@@0@@" in texts(figures.f1_bars(measured(HOSTILE).per_class))


@pytest.mark.parametrize("num_classes", [2, 3, 10, 20, 40, 100])
def test_confusion_is_readable_at_every_size(num_classes):
    names = tuple(f"class {k}" for k in range(num_classes))
    found = measured(names, n=20 * num_classes)
    svg = figures.confusion_matrix(found, names)
    written = texts(svg)
    for name in names:
        assert written.count(name) == 2  # once as a label, once as a call
    counts = sorted(text for text in written if text.isdigit())
    nonzero = sorted(str(count) for row in found.confusion for count in row if count)
    assert counts == (nonzero if num_classes <= 20 else [])
    assert len(svg) < 120_000
    width = float(re.search(r'width="(\d+)"', svg)[1])
    assert 240 <= width <= 1200
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
    assert min(sizes) >= 7


def test_large_confusion_pixels_hold_the_shares():
    K = 50
    names = tuple(str(k) for k in range(K))
    found = measured(names, n=800)
    data = re.search(r"data:image/png;base64,([^\"]+)", figures.confusion_matrix(found, names))[1]
    picture = Image.open(io.BytesIO(base64.b64decode(re.sub(r"\s", "", data)))).convert("RGBA")
    assert picture.size == (K, K)
    counts = np.array(found.confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    alpha = np.asarray(picture)[:, :, 3] / 255
    alpha = alpha if abs(alpha - np.where(np.eye(K) > 0, share, np.sqrt(share))).max() < 0.01 else alpha[::-1]
    np.testing.assert_allclose(alpha, np.where(np.eye(K) > 0, share, np.sqrt(share)), atol=0.01)


def test_curves_name_the_best_epoch_and_survive_one_or_no_epoch():
    assert "kept, epoch 5" in texts(figures.curves(HISTORY))
    assert "kept, epoch 1" in texts(figures.curves(HISTORY[:1], ["accuracy"]))
    assert "epoch" in texts(figures.curves([]))


def test_curves_draw_the_numbers():
    """The validation line of the loss, read back from its path, is an affine picture of the losses."""
    svg = figures.curves(HISTORY, ["loss"])
    paths = [node for node in ET.fromstring(svg).iter(f"{SVG}path") if "var(--blue" in node.get("style", "")]
    line = next(path for path in paths if path.get("d").count("L") == len(HISTORY) - 1)
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.get("d")), dtype=float)
    expected = [epoch.val_loss for epoch in HISTORY]
    assert np.corrcoef(points[:, 1], expected)[0, 1] == pytest.approx(-1, abs=1e-5)  # downwards in SVG is up on paper


def test_reliability_says_the_ece():
    found = measured(("cat", "dog"))
    assert f"ECE {found.ece:.3f}" in texts(figures.reliability_diagram(found))


def test_f1_bars_keep_to_the_weakest():
    names = tuple(f"n{k}" for k in range(100))
    found = measured(names, n=1500)
    weakest = [each.name for each in sorted(found.per_class, key=lambda each: each.f1)[:40]]
    assert [text for text in texts(figures.f1_bars(found.per_class)) if text.startswith("n")] == weakest


def test_names_that_would_be_cut_to_the_same_text_stay_apart():
    long = [
        "american_pit_bull_terrier",
        "american_pit_bull_puppy",
        "x" * 40,
        "x" * 39 + "y",
        "x" * 20 + "z" * 20,
        "cat",
    ]
    same = ["a" * 30 + "b" + "c" * 30, "a" * 30 + "d" + "c" * 30]
    for names in (long, same, long + same, ["猫" * 20, "猫" * 21], ["cat", "dog"]):
        cut = shorten_all(names)
        assert len(set(cut)) == len(names) and all(text_width(name) <= 18 for name in cut)
    assert shorten_all(["cat", "a very long class name indeed"]) == ["cat", shorten("a very long class name indeed")]
