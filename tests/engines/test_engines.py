"""One contract for every engine in the table."""

import os
import subprocess
import sys
import threading

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from keensight.bundle.onnx_head import with_output
from keensight.engines.table import BFLOAT16, DEFAULT, ENGINES, missing
from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(16, 12, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 16, 12, 3), np.uint8)


@pytest.fixture(params=ENGINES)
def engine(request):
    if why := missing(request.param):
        pytest.skip(why)
    return request.param


@pytest.fixture
def within(engine):
    """How far a probability may be from torch's in float32: bfloat16 has eight bits for the digits of a number."""
    return 0.02 if engine == BFLOAT16 else 1e-5


@pytest.fixture(scope="module")
def model():
    return build("cnn", {"filters": 4}, SIZE, 4, seed=0).eval()


@pytest.fixture(scope="module")
def content(model):
    return to_onnx(model, SIZE, 4, 1.3)


@pytest.fixture(scope="module")
def expected(model):
    with torch.no_grad():
        return torch.softmax(model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255) / 1.3, 1).numpy()


def test_the_default_is_in_the_table():
    assert DEFAULT in ENGINES


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("spins", [True, False])
def test_it_answers_as_torch_does_for_any_number_of_pictures(engine, content, expected, within, threads, spins):
    opened = ENGINES[engine](content, threads, spins)
    assert (opened.name, opened.threads) == (engine, threads)
    for n in (1, 9):
        answers = opened.run(IMAGES[:n])
        assert list(answers) == ["probabilities"]
        assert answers["probabilities"].dtype == np.float32
        np.testing.assert_allclose(answers["probabilities"], expected[:n], atol=within)


def test_it_takes_pictures_that_are_a_view(engine, content, expected, within):
    seen = np.flip(np.flip(IMAGES, axis=2).copy(), axis=2)
    np.testing.assert_allclose(ENGINES[engine](content, 1, True).run(seen)["probabilities"], expected, atol=within)


def test_several_threads_may_ask_at_once(engine, content, expected, within):
    opened, answers = ENGINES[engine](content, 1, False), {}

    def ask(i):
        for _ in range(20):
            answers[i] = opened.run(IMAGES[i : i + 3])["probabilities"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        np.testing.assert_allclose(answers[i], expected[i : i + 3], atol=within)


def test_a_second_output_comes_by_its_name(engine, content, expected, within):
    proto = onnx.load_from_string(content)
    proto.graph.node.append(onnx.helper.make_node("ReduceMean", ["probabilities"], ["oddness"], axes=[1], keepdims=0))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("oddness", onnx.TensorProto.FLOAT, ["N"]))
    answers = ENGINES[engine](proto.SerializeToString(), 1, True).run(IMAGES)
    assert answers["oddness"].shape == (9,)
    np.testing.assert_allclose(answers["oddness"], expected.mean(axis=1), atol=within)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=within)


def test_further_outputs_are_given_when_they_are_asked_for(engine, content, within):
    maps = [node.output[0] for node in onnx.load_from_string(content).graph.node if node.op_type == "Relu"][-1]
    opened = ENGINES[engine](with_output(content, maps), 1, True)
    assert list(opened.run(IMAGES)) == ["probabilities"]
    ours = opened.run(IMAGES, [maps])
    theirs = onnxruntime.InferenceSession(with_output(content, maps)).run([maps], {"images": IMAGES})[0]
    assert list(ours) == ["probabilities", maps]
    np.testing.assert_allclose(ours[maps], theirs, atol=within * max(1, theirs.max()))
    np.testing.assert_array_equal(opened.run(IMAGES)["probabilities"], ours["probabilities"])


def test_onnx_runtimes_sessions_have_one_pool_of_memory(content):
    """Six sessions of a pool each kept 860 MB."""
    code = (
        "import sys, numpy as np; from keensight.engines.table import ENGINES\n"
        "def kept(): return int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])\n"
        "onnx, images = sys.stdin.buffer.read(), np.zeros((4000, 16, 12, 3), np.uint8)\n"
        "sessions = [ENGINES['onnxruntime'](onnx, 1, False) for _ in range(6)]\n"
        "before, after = kept(), []\n"
        "for each in sessions: each.run(images); after.append(kept())\n"
        "print(after[-1] - after[0], after[0] - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    more, first = map(int, done.stdout.split())
    assert first > 10_000  # kB: the first one's activations
    assert more < first  # five pools would be five times that


def test_what_is_no_model_is_refused(engine):
    with pytest.raises(Exception, match=r"."):  # of a class of the library's own
        ENGINES[engine](b"not onnx", 1, True)


@pytest.mark.skipif(bool(missing("openvino")), reason="OpenVINO is not installed")
def test_openvinos_telemetry_is_not_even_loaded(content, tmp_path):
    """Its package reports each import to Intel, and keeps a user's number in ~/intel."""
    (tmp_path / "model.onnx").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from keensight.engines.table import ENGINES; "
        "ENGINES['openvino'](Path('model.onnx').read_bytes(), 1, True); "
        "print([name for name in sys.modules if 'telemetry' in name or name.startswith('openvino.tools.ovc')])"
    )
    environment = {name: os.environ.get(name, "") for name in ("PATH", "PYTHONPATH")} | {"HOME": str(tmp_path)}
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
