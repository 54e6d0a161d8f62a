"""A run's report as one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from keensight.errors import DataError
from keensight.evaluation.advice import is_thin, next_steps, to_decide, warnings
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.words import (
    NARROW,
    confused_pairs,
    duration,
    floor_pairs,
    majority,
    percent,
    points,
    span,
    verdict,
)
from keensight.pages.pictures import Pictures, picture_data_uri, weights_gallery
from keensight.values import Mistake, Report, Uint8Array, best_epoch
from keensight.values.recipe import STORY, flattened

MANY_CLASSES = 30  # from here on, the table of classes is folded away below a figure of the weakest
MANY_LAYERS = 20  # more are folded away
PICTURE_HEIGHT_PX = 160
SAMPLE_HEIGHT_PX = 56


def render_html(report: Report, pictures: Pictures, robust: Mapping[str, Any] | None = None) -> str:
    """Return the report as one self-contained HTML page, with those pictures that `pictures` has.

    `robust` is what `pages/robustness.py` makes for the section on how the model breaks.

    Raises DataError if some mistakes have a picture and some have none.
    """
    from keensight.pages import figures  # pages without any use `render` too, and matplotlib takes half a second

    shown, said = report.headline, flattened(report.recipe)
    names = tuple(each.name for each in shown.per_class)
    return render(
        "pages/report.html",
        report=report,
        recipe=said,
        shown=shown,
        split=report.headline_split,
        floors=floor_pairs(report),
        majority=majority(report),
        verdict=verdict(report),
        warnings=warnings(report),
        steps=[*to_decide(report), *next_steps(report)],
        few=is_thin(shown),
        imbalance=_imbalance(report),
        confused=confused_pairs(shown),
        weakest_first=sorted(shown.per_class, key=lambda each: each.f1),
        best=best_epoch(report.history),
        facts=[(key, value) for key, value in said.items() if key != "about" and (value or key not in STORY)],
        splits=[(title, report.data["counts"][key]) for key, title in _SPLITS if report.data["counts"].get(key)],
        mistakes=_with_pictures(report.mistakes, pictures.mistakes),
        near_misses=_with_pictures(report.near_misses, pictures.near_misses),
        samples={
            name: [picture_data_uri(picture, SAMPLE_HEIGHT_PX, lossy=True) for picture in some]
            for name, some in pictures.samples.items()
        },
        gallery=weights_gallery(pictures.first_layer) if pictures.first_layer else None,
        foreign=_foreign(report),
        classes_and_sets=list(zip(names, report.sets.per_class, strict=True)) if report.sets else [],
        many=len(names) > MANY_CLASSES,
        many_layers=MANY_LAYERS,
        **(robust or {"robust": None}),
        guessing=math.log(len(names)),
        loss_curve=svg(figures.curves(report.history, ["loss"])) if report.history else "",
        accuracy_curve=svg(figures.curves(report.history, ["accuracy"])) if report.history else "",
        confusion=svg(figures.confusion_matrix(shown, names)),
        reliability=svg(figures.reliability_diagram(shown)),
        f1_bars=svg(figures.f1_bars(shown.per_class)) if len(names) > MANY_CLASSES else "",
        attack_curve=svg(figures.attack_curve(report.attacks, shown.accuracy)) if report.attacks else "",
    )


_SPLITS = (("train", "Training"), ("val", "Validation"), ("test", "Test"))


def _foreign(report: Report) -> tuple[int, float, float, float]:
    """Return the number of pictures that should be refused, the share that is, and its 95 % interval."""
    kinds = [kind for kind in report.odd.kinds if not kind.is_own] if report.odd else []
    n, refused = sum(kind.n for kind in kinds), sum(round(kind.share * kind.n) for kind in kinds)
    return (n, refused / n, *accuracy_interval(refused, n)) if n else (0, 0.0, 0.0, 1.0)


def _imbalance(report: Report) -> str:
    counts = {name: n for name, n in (report.data["counts"].get("train") or {}).items() if n}
    if len(counts) < 2:
        return ""
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] < 2 * counts[least]:
        return ""
    return (
        f"“{most}” has {counts[most] / counts[least]:.1f} times as many training pictures as “{least}”: plain accuracy "
        "favours it, so read the balanced accuracy too."
    )


def _date(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no" if value is False else "–"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, str):
        return value or "–"
    return json.dumps(value, ensure_ascii=False, default=str)


def _shape(shape: Any) -> str:
    return shape if isinstance(shape, str) else " × ".join(str(size) for size in shape)


def _with_pictures(mistakes: Sequence[Mistake], pictures: Sequence[Uint8Array]) -> list[tuple[Mistake, str]]:
    if len(pictures) not in (0, len(mistakes)):
        raise DataError(
            f"There are {len(pictures):,} pictures for {len(mistakes):,} mistakes. Give one for each mistake, in "
            "their order, or none at all."
        )
    uris = [picture_data_uri(picture, PICTURE_HEIGHT_PX, lossy=True) for picture in pictures]
    return list(zip(mistakes, uris or [""] * len(mistakes), strict=True))


def render(page: str, **context: Any) -> str:
    """Return one of our pages, such as "pages/report.html", as self-contained HTML in our style.

    Text in `context` is escaped. Templates extend and import each other by these names too.
    """
    css = Markup(_source("pages/style.css"))  # noqa: S704 - ours
    return _template(page).render(css=css, **context).encode("utf-8", "backslashreplace").decode()  # see _jsonable


class Script(NamedTuple):
    """A script of ours, and the source that a page's Content-Security-Policy allows it by."""

    text: Markup
    source: str


def script(name: str) -> Script:
    """Return one of our scripts, such as "pages/decisions.js", to be written into a page as it is."""
    text = _source(name)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")  # noqa: S704 - ours


def svg(figure: str) -> Markup:
    """Mark a figure as safe for a page: our own code builds it, and escapes the names in it."""
    return Markup(figure)  # noqa: S704


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters |= {
        "percent": percent,
        "span": span,
        "duration": duration,
        "points": points,
        "date": _date,
        "capitalised": lambda text: f"{text[0].upper()}{text[1:]}.",
        "threshold": lambda share: f"{100 * share:g}{NARROW}%",
        "plain": _plain,
        "code": _code,
        "shape": _shape,
    }
    return environment.get_template(name)


def _source(name: str) -> str:
    return resources.files("keensight").joinpath(name).read_text(encoding="utf-8")


def _code(text: str) -> Markup:
    """Return text as HTML, with commands between backticks as code.

    >>> _code("<b> and `keensight audit`")
    Markup('&lt;b&gt; and <code>keensight audit</code>')
    """
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped just before)
