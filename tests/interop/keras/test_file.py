"""Files that no Keras wrote: each is refused for its own reason, and before anything of it is used."""

import io
import json
import stat
import struct
import zipfile

import h5py
import numpy as np
import pytest

from keensight.errors import ModelFileError
from keensight.interop.keras import file as keras_file
from keensight.interop.keras.model import read_keras

CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": [None, 4, 4, 1]}},
            {"class_name": "Flatten", "config": {"name": "flatten"}},
            {"class_name": "Dense", "config": {"name": "dense", "units": 3, "activation": "softmax"}},
        ],
    },
}
KERNEL = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def with_layer(kind="Dense", **config):
    """The configuration with another last layer, or one with other options."""
    *rows, last = CONFIG["config"]["layers"]
    row = {"class_name": kind, "config": {**last["config"], **config}}
    return {**CONFIG, "config": {"name": "s", "layers": [*rows, row]}}


def h5(path, config=CONFIG, spoil=None, kernel=KERNEL):
    """Write an HDF5 file as Keras 3 does; `spoil` gets the open file and does as it likes."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.attrs["keras_version"] = "3.15.1"
        file["model_weights/dense/s/dense/kernel"] = kernel
        file["model_weights/dense/s/dense/bias"] = np.zeros(3, np.float32)
        if spoil:
            spoil(file)
    return path


def weights_h5():
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = KERNEL, np.zeros(3, np.float32)
    return held.getvalue()


def keras(path, config=CONFIG, more=(), **zipped):
    """Write a .keras file; `more` are further members, as ZipInfo or name, and content."""
    with zipfile.ZipFile(path, "w", **zipped) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", weights_h5())
        for name, content in more:
            archive.writestr(name, content)
    return path


def refused(path, why):
    with pytest.raises(ModelFileError) as caught:
        read_keras(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be imported: ") and why in text, text
    assert text.endswith(".") and "\n" not in text


def test_the_unspoilt_files_are_read(tmp_path):
    for file in (h5(tmp_path / "m.h5"), keras(tmp_path / "m.keras"), keras(tmp_path / "z.keras", compression=8)):
        assert np.array_equal(read_keras(file).model.network[1].weight.detach(), KERNEL.T)


def replace_kernel(make):
    def spoil(file):
        group = file["model_weights/dense/s/dense"]
        del group["kernel"]
        make(group)

    return spoil


def virtual(group):
    layout = h5py.VirtualLayout((16, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (16, 3))
    group.create_virtual_dataset("kernel", layout)


def circle(file):
    file["model_weights/dense/s/again"] = file["model_weights/dense"]


HOSTILE_H5 = {
    "external link": (lambda f: f.__setitem__("model_weights/dense/x", h5py.ExternalLink("o.h5", "/")), "is a link"),
    "soft link": (lambda f: f.__setitem__("model_weights/dense/x", h5py.SoftLink("/model_weights")), "is a link"),
    "linked weights": (
        lambda f: (f.move("model_weights", "w"), f.__setitem__("model_weights", h5py.ExternalLink("o.h5", "/"))),
        "'model_weights' is a link",
    ),
    "circle": (circle, "deeper nested ones, than a network"),
    "virtual": (replace_kernel(virtual), "lies in another file"),
    "external": (
        replace_kernel(lambda g: g.create_dataset("kernel", (16, 3), "f4", external=[("/etc/passwd", 0, 192)])),
        "lies in another file",
    ),
    "gzip": (
        replace_kernel(lambda g: g.create_dataset("kernel", data=np.zeros((16, 3), "f4"), compression="gzip")),
        "is packed, or not stored in full",
    ),
    "plugin": (
        replace_kernel(lambda g: g.create_dataset("kernel", (16, 3), "f4", chunks=(16, 3), scaleoffset=4)),
        "is packed",
    ),
    "never written": (replace_kernel(lambda g: g.create_dataset("kernel", (16, 3), "f4")), "0 bytes for 48 numbers"),
    "text": (replace_kernel(lambda g: g.create_dataset("kernel", data=np.full((16, 3), b"x"))), "not numbers"),
    "another shape": (replace_kernel(lambda g: g.create_dataset("kernel", data=KERNEL.T)), "has the shape (3, 16)"),
    "no kernel": (replace_kernel(lambda g: None), "(kernel: 0 found)"),
    "two kernels": (lambda f: f.__setitem__("model_weights/dense/t/kernel:0", KERNEL), "(kernel: 2 found)"),
    "not finite": (replace_kernel(lambda g: g.create_dataset("kernel", data=KERNEL * np.inf)), "not finite numbers"),
    "no configuration": (lambda f: f.attrs.__delitem__("model_config"), "it holds only weights"),
    "an array for text": (lambda f: f.attrs.__setitem__("model_config", np.zeros(9)), "its model_config is not text"),
    "a number for text": (lambda f: f.attrs.__setitem__("model_config", 9), "its model_config is not text"),
}


@pytest.mark.parametrize("name", HOSTILE_H5)
def test_hostile_hdf5(name, tmp_path):
    spoil, why = HOSTILE_H5[name]
    refused(h5(tmp_path / "m.h5", spoil=spoil), why)


def test_a_huge_array_is_refused_by_its_size_and_not_read(tmp_path):
    wide = with_layer(units=2**24)
    refused(
        h5(
            tmp_path / "m.h5",
            wide,
            replace_kernel(lambda g: g.create_dataset("kernel", (16, 2**24), "f4", chunks=True)),
        ),
        "is packed, or not stored in full (0 bytes for 268,435,456 numbers)",
    )


def test_arrays_cannot_be_read_twice_to_make_more_of_them(tmp_path):
    rows = CONFIG["config"]["layers"]
    many = [{"class_name": "Dense", "config": {"name": f"dense_{i}", "units": 400}} for i in range(3)]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        *rows[:2], {"class_name": "Dense", "config": {"name": "dense", "units": 400}}, *many, ]}}  # fmt: skip

    def spoil(file):
        file["model_weights/dense_0/kernel"] = np.zeros((400, 400), "f4")
        file["model_weights/dense_0/bias"] = np.zeros(400, "f4")
        for i in (1, 2):
            file[f"model_weights/dense_{i}"] = file["model_weights/dense_0"]
        del file["model_weights/dense/s/dense/bias"]
        file["model_weights/dense/s/dense/bias"] = np.zeros(400, "f4")

    refused(
        h5(tmp_path / "m.h5", config, spoil, np.zeros((16, 400), "f4")), "weights together are larger than the file"
    )


LINK = zipfile.ZipInfo("assets")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16
HOSTILE_ZIP = {
    "escape": ([("../evil", b"x")], "outside of its own folder"),
    "absolute": ([("/etc/evil", b"x")], "outside of its own folder"),
    "link": ([(LINK, b"/etc/passwd")], "with links"),
    "bomb": ([("assets/zeros", bytes(2**22))], "a 'zip bomb'"),
    "twice": ([("config.json", b"{}")], "one of them twice"),
    "twice in disguise": ([("./config.json", b"{}")], "one of them twice"),
    "crowd": ([(f"assets/{i}", b"") for i in range(1001)], "too many members"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE_ZIP)
def test_hostile_zips(name, tmp_path):
    more, why = HOSTILE_ZIP[name]
    refused(keras(tmp_path / "m.keras", more=more, compression=zipfile.ZIP_DEFLATED), why)


def test_damaged_zips(tmp_path):
    whole = keras(tmp_path / "m.keras").read_bytes()
    end = whole.rfind(b"PK\x05\x06")
    spoilt = {
        "half": (whole[:-200], "damaged zip"),
        "directory": (whole[: end + 12] + struct.pack("<L", 2**21) + whole[end + 16 :], "table of contents"),
        "zip64": (whole[:end] + b"PK\x06\x07" + bytes(16) + whole[end:], "damaged zip, or one of more than 4 GiB"),
        "checksum": (whole.replace(b"Sequential", b"sequentiaL", 1), "it is damaged"),
    }
    for content, why in spoilt.values():
        (tmp_path / "s.keras").write_bytes(content)
        refused(tmp_path / "s.keras", why)
    with zipfile.ZipFile(tmp_path / "less.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
    refused(tmp_path / "less.keras", "it is a zip without metadata.json")


HOSTILE_JSON = {
    "no JSON": ("{", "is not the JSON that Keras writes"),
    "a list": ("[]", "is not a JSON object"),
    "a key twice": ('{"class_name": "Sequential", "class_name": "Sly"}', "the key 'class_name' comes twice"),
    "depth": ('{"a":' * 100_000 + "1" + "}" * 100_000, "is nested more than"),
    "size": (json.dumps({"a": "x" * keras_file.MAX_JSON_BYTES}), "is larger than 16 MiB"),
    "NaN": ('{"class_name": NaN}', "NaN"),
    "no keys": ("{}", "it is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json(name, tmp_path):
    text, why = HOSTILE_JSON[name]
    refused(keras(tmp_path / "m.keras", text), why)
    refused(h5(tmp_path / "m.h5", text), why)


ODD_LAYERS = {
    "lambda": (
        with_layer("Lambda"),
        "its layer 'dense' (Lambda) holds code (a Lambda), and code from a file is never run",
    ),
    "function": (
        with_layer(activation={"class_name": "function", "config": "own", "module": "builtins"}),
        "holds code (the function own)",
    ),
    "marshalled": (
        with_layer(kernel_initializer={"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}),
        "holds code (a Lambda)",
    ),
    "own activation": (with_layer(activation="mine"), "has the activation 'mine', which cannot be imported"),
    "unknown class": (with_layer("Attention"), "its layer 'dense' (Attention) is not one of the"),
    "custom class": (with_layer("Own>Dense"), "is of the custom class 'Own>Dense'"),
    "channels first": (with_layer(data_format="channels_first"), "has data_format 'channels_first'"),
    "quantised": (
        with_layer(dtype={"class_name": "QuantizedDTypePolicy", "config": {"name": "x"}}),
        "computes in Quant",
    ),
    "huge": (with_layer(units=10**9), "has units 1000000000"),
    "negative": (with_layer(units=-3), "has units -3"),
    "words": (with_layer(units="many"), "has units 'many'"),
    "padding": (with_layer("ZeroPadding2D", padding=10**9), "reads pictures of height"),
    "odd name": (with_layer("Lambda", name="\x1b[2J"), "its layer '\\x1b[2J' (Lambda)"),
    "a custom model": ({**CONFIG, "class_name": "MyModel"}, "the model is of the custom class 'MyModel'"),
    "registered": ({**CONFIG, "registered_name": "Own>S"}, "the model is of the custom class 'Own>S'"),
    "elsewhere": ({**CONFIG, "module": "os"}, "the model is of the custom class 'Sequential'"),
    "no layers": ({**CONFIG, "config": {"layers": []}}, "it is damaged"),
}


@pytest.mark.parametrize("name", ODD_LAYERS)
def test_odd_layers_are_refused_by_name(name, tmp_path):
    config, why = ODD_LAYERS[name]
    refused(keras(tmp_path / "m.keras", config), why)
    refused(h5(tmp_path / "m.h5", config), why)


def test_names_are_refused_before_weights_are_read(tmp_path):
    refused(h5(tmp_path / "m.h5", with_layer("Lambda"), lambda file: file.__delitem__("model_weights")), "a Lambda")


def test_what_is_no_file_of_keras(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    refused(tmp_path / "text.h5", "neither HDF5 nor a zip; a .keras or .h5 file is accepted. Give a file that Keras")
    refused(tmp_path, "it is a folder; a .keras or .h5 file is accepted. Give a file that Keras saved")
    refused(tmp_path / "saved", "a SavedModel folder; a .keras or .h5 file is accepted")
    refused(tmp_path / "none.h5", "does not exist")
    (tmp_path / "cut.h5").write_bytes(h5(tmp_path / "m.h5").read_bytes()[:3000])
    refused(tmp_path / "cut.h5", "it is damaged")


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_file, "MAX_FILE_BYTES", 1000)
    refused(h5(tmp_path / "m.h5"), "up to 1,000 are accepted")
