"""Real files of real Keras, from an environment of its own: the answers must be the same."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from importlib import util
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.data.polarity import Borders
from keensight.errors import ModelFileError
from keensight.inference.predictor import Predictor
from keensight.interop.keras.model import read_keras
from keensight.models.onnx.write import to_onnx

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]
KERAS = Path(os.environ.get("KEENSIGHT_KERAS_PYTHON", ROOT / ".venv-keras" / "bin" / "python"))
SCRIPT = Path(__file__).with_name("make_keras_models.py")
spec = util.spec_from_file_location("make_keras_models", SCRIPT)
make = util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """A folder with the files of all models, and Keras' answers: kept for the next time, if nothing changes them."""
    check_keras()
    version = subprocess.check_output([KERAS, "-c", "from importlib.metadata import version; print(version('keras'))"])
    key = hashlib.sha256(SCRIPT.read_bytes() + version + torch.__version__.encode()).hexdigest()
    kept = request.config.cache.mkdir("keras") / key
    if kept.is_dir():
        return kept
    folder = tmp_path_factory.mktemp("keras")
    make_files(folder)
    copied = shutil.copytree(folder, kept.with_name(f"{key}.{os.getpid()}"))
    with contextlib.suppress(OSError):  # another worker was first
        copied.rename(kept)
    return kept


def check_keras():
    if not KERAS.exists() and not os.environ.get("CI"):
        pytest.skip(f"there is no Keras to compare with: {KERAS} does not exist (make test-thorough makes it)")


def make_files(folder, *names):
    environment = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(folder / "home")}
    subprocess.run([KERAS, "-W", "ignore", SCRIPT, folder, *names], env=environment, check=True, capture_output=True)


def answers_of(imported, images):
    size, names = imported.preprocessing, tuple(map(str, range(imported.num_classes)))
    info = BundleInfo(labels=names, preprocessing=size, borders=Borders(0, 1), abstain_below=0.5)
    bundle = Bundle(Path("imported"), info)
    onnx = to_onnx(imported.model, size, imported.num_classes, 1.0)
    return Predictor(bundle, onnx).probabilities_as_seen(images)


def expected(name, folder):
    """Pictures uint8 NHWC without their channel axis where Keras has none, and Keras' probabilities NK for them."""
    held = np.load(folder / f"{name}.npz")
    answers = held["answers"].astype(np.float64)
    if name == "one-logit":
        answers = 1 / (1 + np.exp(-answers))
    elif name == "log-softmax":
        answers = np.exp(answers)
    elif name == "several-sigmoids":
        answers = answers / answers.sum(axis=1, keepdims=True)
    elif name == "logits":
        answers = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    return held["images"], np.hstack([1 - answers, answers]) if answers.shape[1] == 1 else answers


@pytest.mark.parametrize("name", make.MODELS)
def test_answers_are_those_of_keras(name, made):
    images, answers = expected(name, made)
    assert answers.std(axis=0).max() > 3e-3, "the pictures must not all get the same answer"
    for suffix in ("keras", "h5"):
        imported = read_keras(made / f"{name}.{suffix}")
        size = imported.preprocessing
        pictures = images.reshape(-1, size.height, size.width, size.channels)
        assert imported.pixels == ("0-255" if name in make.FROM_BYTES else "-1-1" if name == "teachable" else "0-1")
        assert np.abs(answers_of(imported, pictures) - answers).max() < 1e-5
        with torch.no_grad():
            logits = imported.model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        assert np.abs(torch.softmax(logits, 1).numpy() - answers).max() < 1e-5


WHY = {
    "lambda": r"its layer 'sly' \(Lambda\) holds code \(a Lambda\), and code from a file is never run",
    "custom": r"its layer 'mine' \((Sly>)?Mine\) is of the custom class 'Sly>Mine'",
    "own-activation": r"its layer '\w+' \(Dense\) holds code \(the function _twice\)",
    "two-outputs": r"it has 2 outputs \(coarse, fine\), and one is accepted",
    "two-inputs": r"it has 2 inputs \(left, right\), and one is accepted",
    "channels-first": r"has data_format 'channels_first'; channels_last, Keras' default, is accepted",
    "multi-label": r"it ends in 3 sigmoid cells, so a picture may have several labels",
    "multi-label-said": r"so a picture may have several labels, and its loss was binary_crossentropy",
    "any-size": r"its input \[None, None, 3\] has no fixed size\. Say what .* such as --size 224",
    "upsampling": r"its layer 'larger' \(UpSampling2D\) has interpolation 'bicubic'; bilinear and nearest",
    "lora": r"it holds 2 arrays that its configuration does not ask for, such as dense\S*/lora_kernel_a with the shape",
    "four-channels": r"its input is \[8, 8, 4\]\. Pictures of height, width and 1 or 3 channels",
    "regression": r"it answers with 6x6x4 numbers for a picture",
}


@pytest.mark.parametrize("name", make.REFUSED)
def test_what_cannot_be_taken_over_is_refused_by_name(name, made):
    for suffix in ("h5",) if name == "lora" else ("keras", "h5"):
        with pytest.raises(ModelFileError, match=WHY[name]):
            read_keras(made / f"{name}.{suffix}")


def test_several_sigmoids_are_taken_where_one_label_is_right(made):
    reference, said = read_keras(made / "several-sigmoids.h5"), read_keras(made / "multi-label.h5", exclusive=True)
    assert "as its loss, sparse_categorical_crossentropy, takes them" in reference.notes[0]
    assert "as was said" in said.notes[0] and said.num_classes == 3


def test_a_model_of_any_size_has_the_size_that_is_said(made):
    imported = read_keras(made / "any-size.keras", size=(9, 12))
    assert (imported.preprocessing.height, imported.preprocessing.width) == (9, 12)
    with pytest.raises(ModelFileError, match="A size is for models that take pictures of any"):
        read_keras(made / "planes.keras", size=(9, 12))


def test_what_keras_3_does_not_heed_is_said(made):
    notes = read_keras(made / "called-in-training.keras").notes
    assert any("'always' (Dropout) is called with training=True" in note for note in notes)


CAFFE = np.array([103.939, 116.779, 123.68])  # blue, green, red
MODES = {  # as keras.applications.imagenet_utils.preprocess_input says, on pixels of 0 to 255
    "tf": lambda x: x / 127.5 - 1,
    "torch": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "caffe": lambda x: x[..., ::-1] - CAFFE,
}


@pytest.mark.parametrize("mode", MODES)
def test_pixels_of_keras_applications(mode, made):
    reference, told = read_keras(made / "planes.h5"), read_keras(made / "planes.h5", pixels=mode)
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), np.uint8)

    def to_torch(pixels):
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()

    with torch.no_grad():
        expected = reference.model(to_torch(MODES[mode](images)))  # which takes 0 to 1, and adds nothing
        assert torch.allclose(told.model(to_torch(images) / 255), expected, rtol=1e-4, atol=1e-3)
    softmax = torch.softmax(expected, 1).numpy()
    assert np.abs(answers_of(told, images) - softmax).max() < 1e-4
    with pytest.raises(ModelFileError, match="it reads grey pictures"):
        read_keras(made / "no-channel-axis.h5", pixels="caffe")


@pytest.mark.slow
@pytest.mark.parametrize("name", make.APPLICATIONS)
def test_keras_applications(name, tmp_path):
    check_keras()
    make_files(tmp_path, name)
    images, answers = expected(name, tmp_path)
    for suffix in ("keras", "h5"):
        imported = read_keras(tmp_path / f"{name}.{suffix}", pixels="0-255")
        assert np.abs(answers_of(imported, images) - answers).max() < 1e-5


def as_keras_2(source, target):
    """Rewrite Keras 3's HDF5 as Keras 2 wrote it: batch_input_shape, plain dtypes, no InputLayer, and ':0'."""
    with h5py.File(source) as new, h5py.File(target, "w") as old:
        config = json.loads(new.attrs["model_config"])
        first, *rows = config["config"]["layers"]
        rows[0]["config"]["batch_input_shape"] = first["config"]["batch_shape"]
        for row in rows:
            row["config"]["dtype"] = "float32"
        old.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": rows}})
        old.attrs["keras_version"] = "2.11.0"

        def copy(name, found):
            if isinstance(found, h5py.Dataset) and name.startswith("model_weights/"):
                _, layer, *_, variable = name.split("/")
                old[f"model_weights/{layer}/{layer}/{variable}:0"] = found[()]

        new.visititems(copy)


@pytest.mark.parametrize("name", ["husky", "fashion", "batch-norm", "separable3"])
def test_keras_2_files(name, made, tmp_path):
    as_keras_2(made / f"{name}.h5", tmp_path / "old.h5")
    imported = read_keras(tmp_path / "old.h5")
    images, answers = expected(name, made)
    assert np.abs(answers_of(imported, images) - answers).max() < 1e-5
    assert imported.keras == "2.11.0"


def test_numbers_of_a_class_may_have_gaps(made, tmp_path):
    """As in .keras files of TensorFlow 2.12 to 2.15."""
    import io
    import zipfile

    with zipfile.ZipFile(made / "husky.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    held = io.BytesIO(members["model.weights.h5"])
    with h5py.File(held, "r+") as file:
        for new, old in (("conv2d_4", "conv2d_2"), ("conv2d_2", "conv2d_1"), ("dense_2", "dense_1")):
            file.move(f"layers/{old}", f"layers/{new}")
        file.move("layers", "_layer_checkpoint_dependencies")
    members["model.weights.h5"] = held.getvalue()
    with zipfile.ZipFile(tmp_path / "gaps.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    images, answers = expected("husky", made)
    assert np.abs(answers_of(read_keras(tmp_path / "gaps.keras"), images) - answers).max() < 1e-5


@pytest.mark.parametrize(("pixels", "low", "high"), [("0-1", 0, 1), ("0-255", 0, 255), ("-1-1", -1, 1)])
def test_pixels_can_be_said(pixels, low, high, made):
    reference, told = read_keras(made / "planes.h5"), read_keras(made / "planes.h5", pixels=pixels)
    x = torch.rand(4, 3, 20, 20)
    with torch.no_grad():
        assert torch.allclose(told.model(x), reference.model(x * (high - low) + low), atol=1e-3)
    assert reference.notes[0].startswith("Nothing in the file says what pixels") and told.notes == ()
