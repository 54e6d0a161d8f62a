"""A run's report as JSON, and as one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from keensight.errors import DataError, RunError
from keensight.evaluation import figures
from keensight.evaluation.gain import gain
from keensight.evaluation.pictures import Pictures, picture_data_uri, weights_gallery
from keensight.values import (
    AttackResult,
    ClassMetrics,
    Epoch,
    Floor,
    Metrics,
    Mistake,
    ReliabilityBin,
    Report,
    Threat,
    Uint8Array,
)

NARROW = "\u202f"  # a thin space that does not break: "91.3 %"
MANY_CLASSES = 30  # from here on the table of classes is folded away behind a figure of the weakest
MANY_LAYERS = 20  # more are folded away
PICTURE_HEIGHT_PX = 160
SAMPLE_HEIGHT_PX = 56
STORY = ("data", "caution", "reported", "promise")  # keys of a recipe that are empty where it is used on other data


def to_dict(report: Report) -> dict[str, Any]:
    """Return `report` as what JSON can hold: dicts, lists, text, finite numbers; what is not finite becomes None."""
    plain = {item.name: getattr(report, item.name) for item in dataclasses.fields(report)}
    return {name: _jsonable(value) for name, value in plain.items()}


def from_dict(content: Mapping[str, Any]) -> Report:
    """Return the report that `to_dict` made `content` from; raises RunError where it is not one."""
    try:
        return Report(
            **{
                **content,
                "history": tuple(Epoch(**_numbers(epoch)) for epoch in content["history"]),
                "val": _metrics(content["val"]),
                "test": None if content["test"] is None else _metrics(content["test"]),
                "floors": tuple(Floor(**floor) for floor in content["floors"]),
                "mistakes": tuple(Mistake(**mistake) for mistake in content["mistakes"]),
                "near_misses": tuple(Mistake(**mistake) for mistake in content["near_misses"]),
                "attacks": tuple(
                    AttackResult(**{**attack, "threat": Threat(**attack["threat"])}) for attack in content["attacks"]
                ),
            }
        )
    except (KeyError, TypeError) as error:
        raise RunError(
            f"This is not a report that this keensight can read ({error}). It reads the report.json that a run writes; "
            "train again, or use the keensight version that wrote it."
        ) from error


def render_html(report: Report, pictures: Pictures) -> str:
    """Return the report as one self-contained HTML page; what `pictures` leaves out, the page leaves out.

    Raises DataError where some mistakes have a picture and some have none.
    """
    shown = report.test or report.val
    names = tuple(each.name for each in shown.per_class)
    return render(
        "evaluation/report.html",
        report=report,
        shown=shown,
        split="test" if report.test else "validation",
        floors=_floors(report),
        majority=_majority(report),
        verdict=verdict(report),
        warnings=warnings(report),
        imbalance=_imbalance(report),
        confused=confused_pairs(shown),
        weakest_first=sorted(shown.per_class, key=lambda each: each.f1),
        best=max((epoch for epoch in report.history if epoch.best), key=lambda epoch: epoch.number, default=None),
        facts=[(key, value) for key, value in report.recipe.items() if key != "about" and (value or key not in STORY)],
        splits=[(title, report.data["counts"][key]) for key, title in _SPLITS if report.data["counts"].get(key)],
        mistakes=_with_pictures(report.mistakes, pictures.mistakes),
        near_misses=_with_pictures(report.near_misses, pictures.near_misses),
        samples={
            name: [picture_data_uri(picture, SAMPLE_HEIGHT_PX, lossy=True) for picture in some]
            for name, some in pictures.samples.items()
        },
        gallery=weights_gallery(pictures.first_layer) if pictures.first_layer else None,
        many=len(names) > MANY_CLASSES,
        many_layers=MANY_LAYERS,
        guessing=math.log(len(names)),
        loss_curve=svg(figures.curves(report.history, ["loss"])) if report.history else "",
        accuracy_curve=svg(figures.curves(report.history, ["accuracy"])) if report.history else "",
        confusion=svg(figures.confusion_matrix(shown, names)),
        reliability=svg(figures.reliability_diagram(shown)),
        f1_bars=svg(figures.f1_bars(shown.per_class)) if len(names) > MANY_CLASSES else "",
        attack_curve=svg(figures.attack_curve(report.attacks, shown.accuracy)) if report.attacks else "",
    )


def verdict(report: Report) -> str:
    """Say in one sentence how good the model is, on test pictures where there are any."""
    shown, split = (report.test, "test") if report.test else (report.val, "validation")
    interval = f"95{NARROW}% interval {span(shown)}"
    sentence = f"Right on {percent(shown.accuracy)} of {shown.n:,} {split} pictures ({interval})"
    comparisons = []
    for name, accuracy in _floors(report):
        points = 100 * (shown.accuracy - accuracy)
        where = "level with" if abs(points) < 0.05 else f"{_points(points)} {'above' if points > 0 else 'below'}"
        majority = _majority(report)
        what = name if name != "majority class" else f"always answering {majority}" if majority else "one fixed answer"
        comparisons.append(f"{where} {what}")
    if not comparisons:
        return sentence + "."
    return f"{sentence}, {' and '.join(comparisons)}."


def warnings(report: Report) -> list[str]:
    """Return what a reader must not miss, one sentence each: a floor not cleared, or a headline that is too kind."""
    shown = report.test or report.val
    found = []
    for name, accuracy in _floors(report):
        if _clearly_below(shown, name, accuracy):
            found.append(f"The model is below the {name} floor of {percent(accuracy)}: do not use it as it is.")
        elif shown.accuracy <= accuracy:
            where = "level with" if shown.accuracy == accuracy else "below"
            moral = "it may have learnt nothing of use" if name == "majority class" else "a simpler model does as well"
            found.append(
                f"The model is {where} the {name} floor of {percent(accuracy)}, within what is noise: {moral}."
            )
        elif shown.accuracy_low <= accuracy:
            found.append(
                f"The interval reaches down to the {name} floor of {percent(accuracy)}: with {shown.n:,} pictures, "
                "being above it may be luck."
            )
    if report.test is None:
        found.append(
            "There is no test split. These numbers are on validation pictures, which were also used to choose the "
            "best epoch and the temperature, so they flatter the model."
        )
    return found


def _clearly_below(shown: Metrics, floor: str, accuracy: float) -> bool:
    if floor == "majority class":  # a fixed answer: its share of the pictures is no estimate
        return shown.accuracy_high < accuracy
    return gain(round(shown.accuracy * shown.n), shown.n, round(accuracy * shown.n), shown.n).high < 0


def confused_pairs(metrics: Metrics, most: int = 2) -> list[tuple[str, str, int, int]]:
    """Return the `most` frequent confusions as (label, called, pictures, all pictures of that label), largest first."""
    pairs = [
        (metrics.per_class[i].name, metrics.per_class[j].name, count, sum(row))
        for i, row in enumerate(metrics.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def percent(share: float | None) -> str:
    """Write a share of 1 as a percentage; only a whole is ever written as 100 %, and only none at all as 0.

    >>> percent(0.913), percent(0.99962)
    ('91.3\\u202f%', '99.96\\u202f%')
    """
    if share is None:
        return "–"
    text = f"{100 * share:.1f}"
    if text in ("100.0", "0.0"):
        text = f"{100 * share:.0f}" if share in (0, 1) else f"{min(max(100 * share, 0.01), 99.99):.2f}"
    return f"{text}{NARROW}%"


def span(metrics: Metrics) -> str:
    """Write the interval of the accuracy in one piece that no line break tears apart, as in ``91.4–93.3 %``."""
    low, high = percent(metrics.accuracy_low), percent(metrics.accuracy_high)
    return f"{low.removesuffix(NARROW + '%')}–\u2060{high}"


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(8.24), duration(48.4), duration(125), duration(7500)
    ('8.2 s', '48 s', '2 min 5 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


_SPLITS = (("train", "Training"), ("val", "Validation"), ("test", "Test"))


def _floors(report: Report) -> list[tuple[str, float]]:
    pairs = [(floor.name, floor.test_accuracy if report.test else floor.val_accuracy) for floor in report.floors]
    return [(name, accuracy) for name, accuracy in pairs if accuracy is not None]


def _majority(report: Report) -> str:
    """Return the largest class, in quotes; nothing where several are as large."""
    counts = report.data["counts"].get("train") or {}
    most = [name for name, n in counts.items() if n == max(counts.values())]
    return f"“{most[0]}”" if len(most) == 1 else ""


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


def _points(points: float) -> str:
    size = f"{abs(points):.1f}" if abs(points) < 9.95 else f"{abs(points):.0f}"
    return f"{size.removesuffix('.0')} {'point' if size == '1.0' else 'points'}"


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
            f"{len(pictures):,} pictures came for {len(mistakes):,} mistakes. Give one for each mistake, in their "
            "order, or none at all."
        )
    uris = [picture_data_uri(picture, PICTURE_HEIGHT_PX, lossy=True) for picture in pictures]
    return list(zip(mistakes, uris or [""] * len(mistakes), strict=True))


def render(page: str, **context: Any) -> str:
    """Return one of our pages, such as "evaluation/report.html", as self-contained HTML in the style of them all.

    Text in `context` is escaped. Templates extend and import each other by these names too.
    """
    css = Markup(_source("evaluation/report.css"))  # noqa: S704 - ours
    return _template(page).render(css=css, **context).encode("utf-8", "backslashreplace").decode()  # see _jsonable


def svg(figure: str) -> Markup:
    """Return a figure as a page takes it: it is built by our own code, which escapes the names in it."""
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
        "points": _points,
        "date": _date,
        "threshold": lambda share: f"{100 * share:g}{NARROW}%",
        "plain": _plain,
        "shape": _shape,
    }
    return environment.get_template(name)


def _source(name: str) -> str:
    return resources.files("keensight").joinpath(name).read_text(encoding="utf-8")


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _jsonable(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_jsonable(str(key)): _jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a file name need not be valid text
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in epoch.items()}


def _metrics(content: Mapping[str, Any]) -> Metrics:
    return Metrics(
        **{
            **content,
            "per_class": tuple(ClassMetrics(**each) for each in content["per_class"]),
            "confusion": tuple(tuple(row) for row in content["confusion"]),
            "reliability": tuple(ReliabilityBin(**each) for each in content["reliability"]),
        }
    )
