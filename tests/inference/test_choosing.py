import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keensight.bundle.info import InBfloat16, Rejector
from keensight.bundle.read import read_bundle
from keensight.engines.onnx_runtime import OnnxRuntime
from keensight.engines.table import BFLOAT16, DEFAULT, ENGINES
from keensight.inference import choosing, predictor
from keensight.inference.predictor import load

SLOW = 0.01  # seconds for a picture
HALF = InBfloat16(100, 0.001, "amx_bf16", threshold=0.7)


@pytest.fixture
def info(trained):
    return read_bundle(trained.bundle).info


@pytest.fixture
def machine(monkeypatch):
    """A machine that has all engines, with speeds of its own; it remembers how often they were measured."""
    seconds, asked = {DEFAULT: SLOW, "openvino": SLOW / 2, BFLOAT16: SLOW / 4}, []

    def measure(names, onnx, size, **_):
        asked.append(list(names))
        return {name: seconds[name] for name in names}

    monkeypatch.setattr(choosing, "missing", lambda engine: "")
    monkeypatch.setattr(choosing, "bfloat16_instructions", lambda: "amx_bf16")
    monkeypatch.setattr(choosing, "measure", measure)
    return seconds, asked


def test_the_fastest_answers_and_is_measured_once_for_each_network(machine, info):
    _, asked = machine
    assert [choosing.fastest(info, b"one") for _ in range(3)] == ["openvino"] * 3
    assert asked == [[DEFAULT, "openvino"]]
    assert choosing.fastest(info, b"other") == "openvino"
    assert len(asked) == 2


def test_bfloat16_answers_only_where_the_bundle_allows_it_on_such_a_processor(machine, info, monkeypatch):
    allowed = replace(info, bfloat16=HALF)
    assert choosing.fastest(info, b"one") == "openvino"
    assert choosing.fastest(allowed, b"one") == BFLOAT16
    assert choosing.fastest(info, b"one") == "openvino"  # its speed is known, and it may still not
    monkeypatch.setattr(choosing, "bfloat16_instructions", lambda: "avx512_bf16")
    assert choosing.fastest(allowed, b"one") == "openvino"
    assert "a processor with amx_bf16; this has avx512_bf16" in choosing.why_not(BFLOAT16, allowed)
    assert "nothing says" in choosing.why_not(BFLOAT16, info)


@pytest.mark.parametrize(("share", "chosen"), [(0.95, DEFAULT), (1.5, DEFAULT), (0.85, "openvino")])
def test_what_is_hardly_faster_is_not_taken(machine, info, share, chosen):
    machine[0]["openvino"] = share * SLOW
    assert choosing.fastest(info, b"one") == chosen


def test_a_damaged_note_is_measured_again_and_without_a_cache_each_time(machine, info, own_cache, monkeypatch):
    choosing.fastest(info, b"one")
    (file,) = (own_cache / "engines").iterdir()
    for text in ("", "[]", '{"onnxruntime": "fast"}', '{"onnxruntime": null}'):
        file.write_text(text)
        assert choosing.fastest(info, b"one") == "openvino"
    assert len(machine[1]) == 5
    assert set(json.loads(file.read_text())) == {DEFAULT, "openvino"}
    monkeypatch.setenv("KEENSIGHT_CACHE", str(file))  # a file, not a folder
    assert choosing.fastest(info, b"one") == "openvino"
    assert len(machine[1]) == 6


def test_a_quick_network_loads_no_other_engine(info, trained, monkeypatch):
    monkeypatch.setattr(choosing, "missing", lambda engine: "")
    monkeypatch.setitem(ENGINES, "openvino", None)  # it would fail if it was opened
    onnx = (trained.bundle / "model.onnx").read_bytes()
    for _ in range(2):
        assert choosing.fastest(info, onnx) == DEFAULT


def test_all_engines_are_told_with_their_speed_or_why_they_may_not(machine, info):
    found, best = choosing.compare(info, b"one")
    assert best == "openvino"
    assert [(each.name, each.images_per_s) for each in found] == [(DEFAULT, 100), ("openvino", 200), (BFLOAT16, None)]
    assert [bool(each.why_not) for each in found] == [False, False, True]


def test_many_pictures_are_answered_by_the_fastest_and_few_by_the_default(trained, tmp_path, monkeypatch):
    files = []
    for i in range(6):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(files[-1])
    opened = []

    def second(onnx, threads, spins):
        opened.append(threads)
        return OnnxRuntime(onnx, threads, spins)

    monkeypatch.setattr(predictor, "MANY", 5)
    monkeypatch.setattr(predictor, "fastest", lambda info, onnx: "openvino")
    monkeypatch.setitem(ENGINES, "openvino", second)
    asked = load(trained.bundle)
    few = [answer for some in (files[:3], files[3:]) for _, answer in asked.on_files(some)]
    assert not opened
    assert [answer for _, answer in asked.on_files(files)] == few
    assert opened == [1]
    list(asked.on_files(files))
    assert opened == [1]


def test_in_bfloat16_a_bundle_has_a_threshold_of_its_own(trained, info):
    info = replace(info, rejector=Rejector(0.5, 0.95), bfloat16=HALF)
    bundle = replace(read_bundle(trained.bundle), info=info)
    assert choosing.as_answered_by(BFLOAT16, bundle).info.rejector == Rejector(0.7, 0.95)
    assert choosing.as_answered_by("openvino", bundle) is bundle
