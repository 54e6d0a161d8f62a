import json
import shutil
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import keensight
from keensight.errors import DataError, GateError, UsageError
from keensight.pipeline import quantize
from keensight.pipeline.watch import Watcher


@pytest.fixture
def as_fast(monkeypatch):
    """No clocks in tests: int8 is half as fast again."""
    monkeypatch.setattr(quantize, "_seconds_per_image", lambda first, second, part: (0.003, 0.002))


def crippled(model: bytes, _) -> bytes:
    """Return the model with its last layer's weights negated."""
    proto = onnx.load_model_from_string(model)
    last = next(n for n in reversed(proto.graph.node) if n.op_type == "Gemm" and not n.name.startswith("oddness"))
    tensor = next(each for each in proto.graph.initializer if each.name == last.input[1])
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    return proto.SerializeToString()


def test_an_int8_bundle_is_smaller_and_as_good_as_it_says(trained, tmp_path, as_fast):
    heard, watcher = [], Watcher()
    watcher.note = heard.append
    made = quantize.quantize(trained.folder, "digits", out=tmp_path / "int8", max_drop=2, watcher=watcher)
    assert heard[-1].startswith("The model is quantised by 256 training pictures, and then compared with float32")
    assert made.bytes < made.float32_bytes / 1.2  # oddness stays float32
    assert made.speedup == pytest.approx(1.5)
    assert made.drop <= 0.02
    again = keensight.evaluate(made.bundle, "digits", split="val")
    assert again.metrics.accuracy == made.accuracy and again.metrics.n == made.n
    info = json.loads((made.bundle / "bundle.json").read_text())
    assert info["metrics"]["val"]["accuracy"] == made.accuracy and info["metrics"]["test"] is None
    assert info["quantised"]["float32_val_accuracy"] == trained.report.val.accuracy
    assert "parity" not in info
    assert (made.bundle / "MODEL_CARD.md").read_text().startswith("> **int8.**")
    types = {node.op_type for node in onnx.load(made.bundle / "model.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= types


def test_without_out_it_lies_beside_the_bundle_and_is_named_from_here(trained, tmp_path, as_fast, monkeypatch):
    shutil.copytree(trained.bundle, tmp_path / "run" / "bundle")
    monkeypatch.chdir(tmp_path)
    assert quantize.quantize("run", "digits", max_drop=2).bundle == Path("run/bundle-int8")
    monkeypatch.chdir(tmp_path / "run" / "bundle")
    with pytest.raises(UsageError, match=f"{tmp_path}/run/bundle-int8 exists"):
        quantize.quantize(".", "digits")


def test_a_signed_bundle_that_was_edited_is_taken_with_a_note(trained, tmp_path, as_fast):
    class Listener(Watcher):
        notes: ClassVar[list[str]] = []

        def note(self, text):
            self.notes.append(text)

    bundle = Path(shutil.copytree(trained.bundle, tmp_path / "bundle"))
    private, public = keensight.new_key(tmp_path / "k")
    keensight.sign(bundle, key=private)
    keensight.export(bundle, out=tmp_path / "checked.onnx", key=public, watcher=Listener())
    assert not Listener.notes
    (bundle / "MODEL_CARD.md").write_text("Mine.")
    made = quantize.quantize(bundle, "digits", out=tmp_path / "int8", max_drop=2, watcher=Listener())
    keensight.export(bundle, out=tmp_path / "mine.onnx", watcher=Listener())
    said = [note for note in Listener.notes if "signed" in note]
    assert said == [f"{bundle} was changed after it was signed: MODEL_CARD.md was changed."] * 2
    assert not keensight.load(made.bundle).bundle.is_signed
    with pytest.raises(GateError, match="MODEL_CARD.md was changed"):
        quantize.quantize(bundle, "digits", out=tmp_path / "no", key=public)


def test_it_is_calibrated_on_training_pictures_alone(trained, tmp_path, as_fast, monkeypatch):
    seen = []

    def look(model, batches):
        seen.extend(image.tobytes() for batch in batches for image in batch)
        return model

    monkeypatch.setattr(quantize, "to_int8", look)
    quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8")
    lines = [json.loads(line) for line in (trained.folder / "splits.jsonl").read_text().splitlines()]
    from keensight.data.sources import open_dataset, reader

    dataset = open_dataset("digits")
    train = {line["file"] for line in lines if line["split"] == "train"}
    with reader(dataset) as read:
        learnt = {read(sample).tobytes() for sample in dataset.samples if sample.path in train}
    assert len(seen) == quantize.CALIBRATED_ON
    assert set(seen) <= learnt


def test_an_int8_bundle_refuses_by_a_threshold_of_its_own(trained, tmp_path, as_fast):
    """Its features are not float32's; the share of validation pictures that it takes is the same."""
    made = quantize.quantize(trained.folder, "digits", out=tmp_path / "int8", max_drop=2)
    before, after = (json.loads((each / "bundle.json").read_text()) for each in (trained.bundle, made.bundle))
    assert after["rejector"]["coverage"] == before["rejector"]["coverage"] == 0.95
    assert after["rejector"]["threshold"] != before["rejector"]["threshold"]
    assert after["rejector"]["threshold"] == pytest.approx(before["rejector"]["threshold"], rel=0.5)
    assert keensight.evaluate(made.bundle, "digits", split="val").metrics.none_of_these <= 0.05
    proto = onnx.load_model_from_string((made.bundle / "model.onnx").read_bytes())
    quantised = {name for node in proto.graph.node if node.op_type == "QuantizeLinear" for name in node.input}
    assert quantised and not any(name.startswith("oddness") for name in quantised)


def test_lost_accuracy_is_refused_and_nothing_is_written(trained, tmp_path, as_fast, monkeypatch):
    monkeypatch.setattr(quantize, "to_int8", crippled)
    with pytest.raises(
        GateError,
        match=r"validation accuracy falls from 0\.9\d+ to 0\.\d+ on 269 pictures, by .* more than the accepted 0.3",
    ):
        quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8")
    assert list(tmp_path.iterdir()) == []
    assert quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8", max_drop=100).drop > 0.5


def test_a_slower_model_is_refused_unless_it_is_wanted(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "_seconds_per_image", lambda first, second, part: (0.002, 0.003))
    with pytest.raises(GateError, match=r"slower here, with 333 images/s where float32 has 500 .--even-if-slower"):
        quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8", max_drop=100)
    assert list(tmp_path.iterdir()) == []
    made = quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8", max_drop=100, even_if_slower=True)
    assert made.bundle.is_dir()


def test_the_times_compared_are_medians_of_rounds_by_turns(trained, monkeypatch):
    """By a clock that only the models move on: each look takes 1 ms or 3, and some take a hundred times as long."""
    from keensight.data.cache import decode
    from keensight.pipeline.labelled import open_for, part_of

    now_s, asked, seen = 0.0, [], set()

    class Timed:
        bundle = keensight.load(trained.bundle).bundle

        def __init__(self, seconds):
            self.seconds = seconds

        def probabilities_as_seen(self, images):
            nonlocal now_s
            stalls = sum(each is self for each in asked) in (1, 60, 120)
            now_s += self.seconds * (100 if stalls else 1)
            asked.append(self)
            seen.add(len(images))

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    fast, slow = Timed(0.001), Timed(0.003)
    pixels = decode(open_for("digits", [fast.bundle]), fast.bundle.preprocessing)
    times_s = quantize._seconds_per_image(fast, slow, part_of(pixels, np.arange(40)))
    (size,) = seen
    assert times_s == pytest.approx((0.001 / size, 0.003 / size))
    turns = [each for each, before in zip(asked, [None, *asked], strict=False) if each is not before]
    assert turns == [fast, slow] * quantize.ROUNDS


def test_what_cannot_be_quantised_is_refused_first(trained, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match=r"taken exists, and nothing is overwritten"):
        quantize.quantize(trained.bundle, "digits", out=tmp_path / "taken")
    with pytest.raises(UsageError, match=r"--max-drop is 300. Give points of validation accuracy from 0 to 100"):
        quantize.quantize(trained.bundle, "digits", out=tmp_path / "int8", max_drop=300)
    for name in "01":
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 16 * int(name)).save(tmp_path / "data" / name / "a.png")
    with pytest.raises(DataError, match=r"has no train split. int8 is calibrated on training pictures"):
        quantize.quantize(trained.bundle, tmp_path / "data", out=tmp_path / "int8")
