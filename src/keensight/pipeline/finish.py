"""The last stages of training: calibrate, export, evaluate, report, bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.bundle.write import write_bundle
from keensight.data.cache import fingerprint
from keensight.data.decided import provenance
from keensight.data.polarity import Borders
from keensight.data.splits import DRAW
from keensight.errors import BundleError, RecipeError
from keensight.evaluation.advice import is_thin
from keensight.evaluation.calibration import expected_calibration_error, fit_temperature, softmax
from keensight.evaluation.crossed import cross_validate
from keensight.evaluation.floors import logistic_floor, majority_floor
from keensight.evaluation.measured_sets import measure_sets
from keensight.evaluation.metrics import metrics, telling_mistakes
from keensight.evaluation.oddness import FEW, learn_oddness
from keensight.evaluation.report import to_dict
from keensight.explanation.weights import first_layer
from keensight.files import to_json, write_atomically
from keensight.inference.predictor import Predictor, inverted_of
from keensight.machine import hardware, versions
from keensight.models.classifier import Own
from keensight.models.layers import layer_table
from keensight.models.onnx.write import to_onnx, with_temperature
from keensight.pages.pictures import Pictures, sample_members
from keensight.pages.report import render_html
from keensight.pages.robustness import context as robustness_context
from keensight.pipeline.bfloat16 import with_bfloat16
from keensight.pipeline.notes import notes
from keensight.pipeline.odd import measure_oddness, with_limits
from keensight.pipeline.parity import check_parity, trained_logits
from keensight.pipeline.polarity import decide_borders
from keensight.pipeline.robust import STEPS, full_robustness, how_many, quick_robustness
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import outcome, result
from keensight.robustness.certificates import certified
from keensight.training.checkpoint import weights_of
from keensight.training.loop import State
from keensight.values import (
    SPLIT_NAMES,
    AttackResult,
    CertifiedResult,
    Choice,
    FloatArray,
    Floor,
    Mistake,
    Pixels,
    Recipe,
    Report,
    Split,
    Splits,
    Threat,
    Uint8Array,
)
from keensight.values.recipe import ModelSettings
from keensight.workspace import RunFolder

MOST_ATTACKED = 10_000


def finish(
    files: RunFolder,
    state: State,
    pixels: Pixels,
    splits: Splits,
    recipe: Recipe,
    watcher: Watcher,
    by_hand: bool = False,
    choice: Choice | None = None,
) -> Report:
    """Calibrate on validation, export, measure the *exported* model, and write report and bundle.

    `state` holds the best epoch's weights. The test split is used here for the first time. With `by_hand`, the splits
    need not be those that the recipe draws.

    Raises GateError, and writes neither report nor bundle, if the exported model's answers differ from `state`'s.
    """
    watcher.stage("calibrating and exporting")
    recipe = recipe.told_of(pixels.dataset.name)
    if isinstance(own := state.model.network, Own):
        recipe = replace(recipe, model=ModelSettings(name=type(own.module).__name__, normalise=False))
    model = state.model.eval()
    data = {
        "name": pixels.dataset.name,
        "sha256": fingerprint(pixels.dataset),
        "val_fraction": recipe.data.val_fraction,
        "test_fraction": recipe.data.test_fraction,
        "seed": recipe.seed,
        "draw": DRAW,
        # what was given together, or kept from an earlier run, can be told again only by the run's list
        **({"listed": True} if pixels.dataset.parts or recipe.data.splits or by_hand else {}),
        **({"by_hand": True} if by_hand else {}),
        **({"decisions": provenance(pixels.dataset.decisions)} if pixels.dataset.decisions else {}),
    }
    info = BundleInfo(
        labels=splits.class_names,
        preprocessing=splits.preprocessing,
        borders=Borders(0, 1),  # until it is decided below
        abstain_below=recipe.evaluate.abstain_below,
        recipe=recipe.table(),
        data=data,
    )
    bundle = Bundle(files.bundle, info)
    uncalibrated = to_onnx(model, splits.preprocessing, len(splits.class_names), 1.0, splits.class_names)
    info = replace(info, borders=decide_borders(Predictor(bundle, uncalibrated), splits))
    bundle = replace(bundle, info=info)
    crossed = None
    if len(splits.val) < FEW and not by_hand:
        watcher.stage("cross-validation, as few pictures are held out")
        crossed = cross_validate(model, splits, recipe)
    if crossed is None:
        temperature = fit_temperature(trained_logits(model, splits.val, bundle.borders), splits.val.labels)
    else:
        temperature = fit_temperature(crossed.logits_NK, crossed.labels_N)
    bundle = replace(bundle, info=replace(info, temperature=temperature))
    crossed_N = None
    if recipe.evaluate.coverage < 1:
        watcher.stage("learning what is none of these")
        try:
            learnt = learn_oddness(model, splits, bundle.borders, recipe.seed)
            crossed_N = learnt.crossed_N
            uncalibrated = to_onnx(
                model, splits.preprocessing, len(splits.class_names), 1.0, splits.class_names, learnt.module
            )
        except (RecipeError, BundleError) as error:  # a network of one's own need not end in a linear layer
            watcher.note(f"Pictures unlike all that was learnt will not be recognised. {error}")
    onnx = with_temperature(uncalibrated, temperature)
    answers = None if crossed is None else (softmax(crossed.logits_NK, temperature), crossed.labels_N)
    shipped = with_limits(
        Predictor(bundle, onnx), splits.val, recipe.evaluate.coverage, recipe.data.catch_all, crossed_N, answers
    )
    watcher.stage("checking that the bundle gives the trained model's answers")
    parity = asdict(check_parity(model, shipped, pixels, splits.val))
    bundle = replace(shipped.bundle, info=replace(with_bfloat16(shipped, splits.val, watcher), parity=parity))
    watcher.stage("logistic regression, to compare")
    floors = (majority_floor(splits), logistic_floor(splits, recipe.seed))
    watcher.stage("evaluating")
    inverted = [said for name, part in _parts(splits) if (said := inverted_of(shipped, part, f"{name} pictures"))]
    for said in inverted:
        watcher.note(said)
    report = replace(_report(state, pixels, splits, recipe, shipped, floors, inverted), choice=choice)
    if is_thin(report.headline) and not by_hand:
        crossed = crossed or cross_validate(model, splits, recipe)
        report = replace(report, crossed=crossed.measured if crossed else None)
    report, robust = _with_robustness(report, state, splits, recipe, shipped, watcher)
    html = render_html(report, _pictures(report, state, splits, recipe), robust)
    write_atomically(files.report, to_json(to_dict(report)))
    write_atomically(files.page, html)
    write_bundle(bundle, report, onnx, weights_of(model), html)
    return report


def _with_robustness(
    report: Report, state: State, splits: Splits, recipe: Recipe, shipped: Predictor, watcher: Watcher
) -> tuple[Report, dict[str, Any]]:
    """Return the report with how the model breaks, and what its page shows of that."""
    asked, held_out = recipe.evaluate.robustness, splits.held_out
    if asked == "full":
        few = held_out.thinned(how_many(held_out))
        measured, fooled = full_robustness(state.model, shipped, few, recipe.seed, STEPS, watcher)
        return replace(report, robustness=measured), robustness_context(measured, fooled)
    quick = quick_robustness(shipped, held_out, recipe.seed) if asked == "quick" else None
    return replace(report, robustness=quick), robustness_context(quick) if quick else {}


def _pictures(report: Report, state: State, splits: Splits, recipe: Recipe) -> Pictures:
    held_out, names = splits.held_out, splits.class_names
    samples = sample_members(splits.train, len(names), recipe.seed)
    places = {row: member for member, row in enumerate(held_out.rows.tolist())}

    def shown(mistakes: Sequence[Mistake]) -> list[Uint8Array]:
        return list(held_out.gather(np.array([places[mistake.row] for mistake in mistakes], np.int64)))

    return Pictures(
        mistakes=shown(report.mistakes),
        near_misses=shown(report.near_misses),
        samples={names[k]: list(splits.train.gather(members)) for k, members in samples.items()},
        first_layer=first_layer(state.model, splits.preprocessing, names),
    )


def _report(
    state: State,
    pixels: Pixels,
    splits: Splits,
    recipe: Recipe,
    predictor: Predictor,
    floors: tuple[Floor, ...],
    inverted: Sequence[str],
) -> Report:
    names, held_out = splits.class_names, splits.held_out
    answers = {name: predictor.on_split(part) for name, part in _parts(splits) if name != "train"}
    measured = {
        name: metrics(answers[name][0], part.labels, names, recipe.evaluate.abstain_below, answers[name][1])
        for name, part in _parts(splits)
        if name != "train"
    }
    headline, _ = answers["test" if splits.test else "val"]
    surest, nearest = telling_mistakes(headline, held_out, names)
    info = predictor.bundle.info
    assert info.data is not None  # as `finish` described it
    uncalibrated = softmax(info.temperature * _logs(headline), 1.0)
    return Report(
        run=predictor.bundle.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(state.seconds, 3),
        data={
            "name": pixels.dataset.name,
            "sha256": info.data["sha256"],
            "class_names": list(names),
            "counts": {
                name: {names[label]: n for label, n in sorted(Counter(part.labels.tolist()).items())}
                for name, part in _parts(splits)
            },
            "notes": [*notes(splits, recipe, pixels.dataset.name), *inverted],
            "findings": [asdict(finding) for finding in splits.findings],
            "skipped": [asdict(skipped) for skipped in pixels.dataset.skipped],
        },
        recipe=recipe.table(),
        preprocessing=asdict(splits.preprocessing),
        model={
            "name": recipe.model.name,
            "parameters": sum(p.numel() for p in state.model.parameters()),
            "layers": layer_table(state.model, splits.preprocessing),
        },
        history=tuple(state.history),
        temperature=info.temperature,
        abstain_below=recipe.evaluate.abstain_below,
        val=measured["val"],
        test=measured.get("test"),
        uncalibrated_ece=expected_calibration_error(uncalibrated, held_out.labels),
        floors=floors,
        mistakes=surest,
        near_misses=nearest,
        attacks=_attacked(state, held_out, recipe),
        certificates=_certified(state, held_out, recipe),
        versions=versions(),
        hardware=hardware(),
        odd=measure_oddness(predictor, splits, recipe.seed),
        sets=None if info.label_sets is None else measure_sets(headline, held_out.labels, info.label_sets),
    )


def _attacked(state: State, held_out: Split, recipe: Recipe) -> tuple[AttackResult, ...]:
    few = held_out.take(slice(MOST_ATTACKED))
    threats = [Threat("linf", eps) for eps in recipe.evaluate.attack_eps]
    return tuple(
        result(recipe.evaluate.attack, outcome(state.model, few, threat, recipe.evaluate.attack, seed=recipe.seed))
        for threat in threats
    )


def _certified(state: State, held_out: Split, recipe: Recipe) -> tuple[CertifiedResult, ...]:
    if not recipe.evaluate.certify_eps:
        return ()
    few = held_out.take(slice(MOST_ATTACKED))
    found = certified(state.model, few, recipe.evaluate.certify_eps, thorough=False)
    return tuple(CertifiedResult(each.threat, each.accuracy, len(few)) for each in found)


def _logs(probabilities_NK: FloatArray) -> FloatArray:
    """Return logarithms of probabilities: logits up to a per-row constant, which softmax ignores."""
    logs_NK: FloatArray = np.log(np.maximum(probabilities_NK, np.finfo(np.float32).tiny).astype(np.float64))
    return logs_NK


def _parts(splits: Splits) -> Iterator[tuple[str, Split]]:
    for name in SPLIT_NAMES:
        if (part := getattr(splits, name)) is not None:
            yield name, part
