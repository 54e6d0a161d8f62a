from dataclasses import replace

import numpy as np
import pytest

import keensight
from keensight.bundle.info import BundleInfo, InBfloat16
from keensight.data.cache import decode
from keensight.engines.onnx_runtime import OnnxRuntime
from keensight.engines.table import BFLOAT16, DEFAULT, ENGINES
from keensight.inference.predictor import load
from keensight.pipeline import bfloat16
from keensight.pipeline.watch import Watcher

SURE, OTHER, UNSURE, UNSURE_TOO = [0.9, 0.1], [0.1, 0.9], [0.52, 0.48], [0.49, 0.51]


@pytest.mark.parametrize(
    ("first", "second", "odd", "said"),
    [
        ([SURE], [SURE], 0.0, ""),
        ([SURE, UNSURE], [SURE, UNSURE_TOO], 0.0, "in the mean"),  # 0.03 of one of two pictures
        ([SURE] * 9 + [UNSURE], [SURE] * 9 + [UNSURE_TOO], 0.0, ""),  # not sure is not sure
        ([SURE] * 99 + [OTHER], [SURE] * 100, 0.0, "another for 1"),
        ([SURE] * 99 + [UNSURE], [SURE] * 99 + [OTHER], 0.0, "another for 1"),
        ([SURE], [[0.905, 0.095]], 0.0, ""),
        ([SURE], [[0.88, 0.12]], 0.0, "0.02 in the mean"),
        ([SURE], [SURE], 0.02, ""),
        ([SURE], [SURE], 0.03, "would change for 3%"),
    ],
)
def test_answers_count_as_the_same_where_a_person_would_say_so(first, second, odd, said):
    for one, other in ((first, second), (second, first)):
        found = bfloat16.unlike(np.array(one) + 1e-9, np.array(other) + 1e-9, 0.6, odd)
        assert said in found and bool(said) == bool(found)


class Rounded(OnnxRuntime):
    """An engine that answers as bfloat16 would, on any processor: with a part of each number lost."""

    lost = 0.0

    def run(self, images_NHWC, also=()):
        answers = super().run(images_NHWC, also)
        return {name: (each * (1 - self.lost)).astype(np.float32) for name, each in answers.items()}


@pytest.fixture
def notes(monkeypatch):
    """A machine with a second engine, which is twice as fast; what a person is told."""
    monkeypatch.setattr(bfloat16, "missing", lambda engine: "")
    monkeypatch.setattr(bfloat16, "bfloat16_instructions", lambda: "amx_bf16")
    monkeypatch.setattr(bfloat16, "measure", lambda names, *_: {DEFAULT: 0.02, "openvino": 0.02, BFLOAT16: 0.01})
    monkeypatch.setitem(ENGINES, BFLOAT16, Rounded)
    told = []
    return told


class Told(Watcher):
    def __init__(self, notes):
        self.note = notes.append


@pytest.fixture(scope="module")
def held_out(trained):
    pixels = decode(keensight.open_dataset("digits"), load(trained.bundle).bundle.preprocessing)
    return keensight.split(pixels, seed=0).val


def test_a_bundle_says_that_it_may_and_by_how_many_pictures(trained, held_out, notes, monkeypatch):
    monkeypatch.setattr(Rounded, "lost", 0.004)
    shipped = load(trained.bundle)
    info = bfloat16.with_bfloat16(shipped, held_out, Told(notes))
    said = info.bfloat16
    assert said.n == len(held_out) and said.instructions == "amx_bf16"
    top = shipped.outputs_on_split(held_out)["probabilities"].max()
    assert said.difference == pytest.approx(0.004 * top, rel=1e-4)
    assert said.threshold == pytest.approx(info.rejector.threshold * 0.996, rel=0.2)
    (note,) = notes
    assert "2.0 times as fast" in note and "keep every sure answer" in note


def test_one_that_would_answer_otherwise_may_not(trained, held_out, notes, monkeypatch):
    monkeypatch.setattr(Rounded, "lost", 0.05)
    assert bfloat16.with_bfloat16(load(trained.bundle), held_out, Told(notes)).bfloat16 is None
    (note,) = notes
    assert "in the mean" in note and "will not be used" in note


def test_nothing_is_compared_where_it_would_not_help(trained, held_out, notes, monkeypatch):
    shipped, watcher = load(trained.bundle), Told(notes)
    for seconds in ({DEFAULT: 1e-5, BFLOAT16: 1e-6}, {DEFAULT: 0.01, BFLOAT16: 0.0095}):
        monkeypatch.setattr(bfloat16, "measure", lambda *_, seconds=seconds: seconds)
        assert bfloat16.with_bfloat16(shipped, held_out, watcher) == shipped.bundle.info
    monkeypatch.setattr(bfloat16, "measure", None)  # it would fail if it was asked
    assert bfloat16.with_bfloat16(shipped, held_out.thinned(99), watcher) == shipped.bundle.info
    monkeypatch.setattr(bfloat16, "missing", lambda engine: "it is not installed")
    assert bfloat16.with_bfloat16(shipped, held_out, watcher) == shipped.bundle.info
    assert not notes


def test_bundle_json_keeps_it(trained):
    info = replace(load(trained.bundle).bundle.info, bfloat16=InBfloat16(218, 0.004, "amx_bf16", 1.5))
    assert BundleInfo.from_json(info.to_json()).bfloat16 == info.bfloat16
    without = replace(info, bfloat16=InBfloat16(218, 0.004, "amx_bf16"))
    assert "threshold" not in without.to_json()["bfloat16"]
    assert BundleInfo.from_json(without.to_json()).bfloat16 == without.bfloat16
    endless = without.to_json()["bfloat16"] | {"threshold": "1e999"}
    for bad in ({"n": 3}, [], 7, {"n": 1, "difference": "x", "instructions": ""}, endless):
        with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
            BundleInfo.from_json(info.to_json() | {"bfloat16": bad})
