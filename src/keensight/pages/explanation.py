"""Explanations as one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from keensight.explanation.activations import Activation
from keensight.explanation.class_activation import SHARE
from keensight.explanation.occlusion import SIZES, Evidence, peak
from keensight.explanation.weights import FirstLayer
from keensight.pages.explanation_figures import HEIGHT_PX, LayerFigure, heat_scale, layer_figures, overlay_data_uri
from keensight.pages.pictures import picture_data_uri, weights_gallery
from keensight.pages.report import render
from keensight.values import FloatArray, Prediction, Uint8Array

MOST_BARS = 10  # more classes are folded away
MOST_OPEN = 3  # pictures whose layers are unfolded; with more, the page would be long


@dataclass(frozen=True, slots=True)
class Section:
    """One picture's part of the page, already drawn: small, so that many can be held."""

    prediction: Prediction
    evidence: Evidence
    against: Evidence  # the place that speaks most against the answer
    picture: str  # data URIs from here on
    heat_map: str
    heat_scale: float
    by_covering: bool
    layers: tuple[LayerFigure, ...]
    num_layers: int


def draw(
    prediction: Prediction,
    image_HWC: Uint8Array,
    drop_HW: FloatArray,
    layers: Sequence[Activation],
    *,
    by_covering: bool = True,
) -> Section:
    """Draw one picture's part: the picture as the model sees it, its heat map, and its layers' activations.

    The heat map was made `by_covering` the picture, or else from feature maps.
    """
    return Section(
        prediction,
        peak(drop_HW),
        peak(-drop_HW),
        picture_data_uri(image_HWC, HEIGHT_PX),
        overlay_data_uri(image_HWC, drop_HW),
        heat_scale(drop_HW),
        by_covering,
        layer_figures(layers),
        len(layers),
    )


def render_html(
    name: str,
    abstain_below: float,
    sections: Sequence[Section],
    first_layer: FirstLayer | None,
    refused: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page of a bundle called `name` as self-contained HTML; `refused` are the files left out, and why."""
    return render(
        "pages/explanation.html",
        name=name,
        abstain_below=abstain_below,
        verdict=verdict([section.prediction for section in sections], len(refused)),
        refused=refused,
        sections=[(PurePath(each.prediction.file).name, _bars(each.prediction), each) for each in sections],
        most_bars=MOST_BARS,
        place=place,
        times=times,
        sizes=SIZES,
        patch=SHARE,
        methods={each.by_covering for each in sections},
        is_open=len(sections) <= MOST_OPEN,
        gallery=weights_gallery(first_layer) if first_layer else None,
    )


def verdict(predictions: Sequence[Prediction], num_refused: int = 0) -> str:
    """Say in one sentence how many pictures there are, and how many got an unsure answer, or none."""
    n, unsure = len(predictions) + num_refused, sum(each.abstained for each in predictions)
    pictures = f"{n} picture{'' if n == 1 else 's'}"
    if not unsure and not num_refused:
        return f"{pictures}, {'answered' if n == 1 else 'all answered'}."
    none = sum(each.is_none_of_these for each in predictions)
    rest = [f"{none} none of these"] if none else []
    rest += [f"of {unsure - none} the model is not sure"] if unsure > none else []
    rest += [f"{num_refused} cannot be used"] if num_refused else []
    return f"{pictures}, {n - unsure - num_refused} answered; {', and '.join(rest)}."


def place(evidence: Evidence) -> str:
    """Say where on the picture something is.

    >>> place(Evidence(0.5, 0.1, 0.3)), place(Evidence(0.9, 0.5, 0.3)), place(Evidence(0.5, 0.5, 0.3))
    ('at the top', 'at the right', 'in the middle')
    """
    rows, columns = ("upper", "", "lower"), ("left", "", "right")
    row, column = rows[min(2, int(3 * evidence.y))], columns[min(2, int(3 * evidence.x))]
    if row and column:
        return f"at the {row} {column}"
    if row:
        return "at the top" if row == "upper" else "at the bottom"
    return f"at the {column}" if column else "in the middle"


def times(points: float) -> str:
    """Say how many times smaller some points of log-odds make odds.

    >>> times(0.7), times(2.303), times(4.7), times(20)
    ('2.0', '10', '110', 'more than 1,000')
    """
    factor = math.exp(min(points, 10.0))
    if factor > 1000:
        return "more than 1,000"
    return f"{factor:.1f}" if factor < 9.95 else f"{float(f'{factor:.2g}'):.0f}"


def _bars(prediction: Prediction) -> list[tuple[str, float]]:
    return sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
