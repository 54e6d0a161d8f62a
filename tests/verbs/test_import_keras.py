import json

import h5py
import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.cli import main
from keensight.errors import RunError, UsageError
from keensight.verbs.import_keras import read_labels

KERNEL = np.zeros((3, 3, 1, 2), np.float32)
KERNEL[..., 0], KERNEL[..., 1] = -1.0, 1.0


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


@pytest.fixture
def model(tmp_path):
    """A model in Keras' HDF5: "dark" or "light", by the sum over each 3x3 pixels."""
    layers = [
        layer("InputLayer", "input", batch_shape=[None, 6, 6, 1]),
        layer("Conv2D", "conv", filters=2, kernel_size=[3, 3]),
        layer("ReLU", "rectifier"),
        layer("GlobalAveragePooling2D", "mean"),
        layer("Activation", "end", activation="softmax"),
    ]
    with h5py.File(tmp_path / "dusk.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
        file["model_weights/conv/conv/kernel:0"] = KERNEL
        file["model_weights/conv/conv/bias:0"] = np.array([4.5, -4.5], np.float32)
    return tmp_path / "dusk.h5"


@pytest.fixture
def data(tmp_path):
    """Labelled pictures, ten dark and ten light ones."""
    rng = np.random.default_rng(0)
    for i in range(20):
        name, low = ("dark", 0) if i % 2 else ("light", 160)
        file = tmp_path / "data" / name / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(low, low + 90, (6, 6), np.uint8)).save(file)
    return tmp_path / "data"


@pytest.fixture
def bundle(model, tmp_path):
    return keensight.import_keras(model, tmp_path / "dusk", labels=["dark", "light"]).bundle


def test_what_it_says(model, tmp_path):
    made = keensight.import_keras(model, tmp_path / "out", labels=["dark", "light"])
    assert made.bundle == tmp_path / "out" / "bundle"
    assert made.labels == ("dark", "light") and made.parameters == 20 and made.pixels == "0-1"
    (note,) = made.notes
    assert note.startswith("Nothing in the file says what pixels it was trained with; 0 to 1 is assumed")
    files = {file.name for file in made.bundle.iterdir()}
    assert files == {"bundle.json", "model.onnx", "model.safetensors", "MODEL_CARD.md", "sbom.cdx.json"}
    card = (made.bundle / "MODEL_CARD.md").read_text()
    assert made.sha256 in card and "Not measured here" in card and "0 to 1 is assumed" in card
    assert keensight.info(made.bundle)["origin"] | {"keras": ""} == {
        "kind": "keras", "file": "dusk.h5", "sha256": made.sha256, "keras": "", "pixels": "0-1",
    }  # fmt: skip


def test_the_place_is_new(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [str(keensight.import_keras(model).bundle) for _ in range(2)]
    assert places == ["imported/dusk/bundle", "imported/dusk-2/bundle"]
    with pytest.raises(RunError):
        keensight.import_keras(model, "imported/dusk")


def test_labels(model, tmp_path):
    made = keensight.import_keras(model, tmp_path / "a")
    assert made.labels == ("0", "1") and "its 2 classes, so they are called 0 and 1." in made.notes[-1]
    for labels, why in (
        (["a"], "1 label was given"), (["a", "a"], "'a' was given twice"), (["a", " "], "'' is not a label"),
        (["a", "\x1b"], "is not a label"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=why):
            keensight.import_keras(model, tmp_path / "b", labels=labels)
    with pytest.raises(UsageError, match="There is no range of pixels '0-256'. Did you mean '0-255'?"):
        keensight.import_keras(model, tmp_path / "b", pixels="0-256")
    assert not (tmp_path / "b").exists()
    (tmp_path / "names.txt").write_text("dark\nlight\n\n")
    assert read_labels(tmp_path / "names.txt") == ["dark", "light"]
    with pytest.raises(UsageError, match="no such file"):
        read_labels(tmp_path / "none.txt")


def test_every_verb_takes_the_bundle(bundle, data, tmp_path):
    answers = keensight.predict(bundle, data / "dark")
    assert {answer.label for answer in answers} == {"dark"}
    measured = keensight.evaluate(bundle, data)
    assert measured.split == "all" and measured.metrics.accuracy == 1 and measured.metrics.n == 20
    assert [row["name"] for row in keensight.info(bundle, layers=True)["layers"]][:2] == ["Conv2d", "ReLU"]
    assert keensight.export(bundle, out=tmp_path / "m.onnx").stat().st_size > 500
    explained = keensight.explain(bundle, data / "light", tmp_path / "why")
    assert explained.pictures[0].prediction.label == "light" and len(explained.pictures) == 10
    other = keensight.import_keras(
        tmp_path / "dusk.h5", tmp_path / "other", labels=["light", "dark"], pixels="0-255"
    ).bundle
    compared = keensight.compare([bundle, other], data, eps=[0, 0.1], out=tmp_path / "compared")
    assert [each.metrics.accuracy for each in compared.bundles] == [1, 0.5]  # 255 times as light: all is "dark"
    assert "imported: pixels" in compared.page.read_text()


def test_a_network_in_a_bundle_is_data_too(bundle):
    from keensight.bundle.network import network_of
    from keensight.bundle.read import read_bundle
    from keensight.errors import KeensightError

    info = json.loads((bundle / "bundle.json").read_text())
    for network in (
        [],
        [{"layer": "eval", "source": "1"}],
        [{"layer": "Conv2d", "in_channels": 10**6, "out_channels": 10**6, "kernel_size": 99}],
        [{"layer": "Linear", "in_features": "x", "out_features": 2}],
    ):
        (bundle / "bundle.json").write_text(json.dumps({**info, "network": network}))
        with pytest.raises(KeensightError):
            network_of(read_bundle(bundle))


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    return end.value.code


def test_the_command(model, tmp_path, capsys):
    words = ("import-keras", model, "--labels", "dark,light")
    assert run(*words, "--out", tmp_path / "a", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["bundle"] == str(tmp_path / "a" / "bundle") and said.err.startswith("note: Nothing in")
    assert run(*words, "--out", tmp_path / "b", "--pixels", "-1-1") == 0
    said = capsys.readouterr()
    assert "pixels -1-1" in said.out and said.err == ""
    assert run(*words, "--labels-file", "names.txt") == 2
    assert run("import-keras", tmp_path / "none.h5") == 1
    assert "none.h5 cannot be imported: it is not a file, or does not exist" in capsys.readouterr().err
