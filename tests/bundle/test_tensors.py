import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save

from keensight.bundle.tensors import check_tensors


def test_what_the_library_writes_is_accepted():
    check_tensors(save({}))
    tensors = {"a": np.ones((2, 3), np.float32), "n": np.array(7), "empty": np.zeros((0, 4), np.float16)}
    check_tensors(save(tensors, {"history": "[]"}))


def test_a_trained_networks_weights_are_accepted(trained):
    check_tensors((trained.bundle / "model.safetensors").read_bytes())


def packed(header, body=b"\0" * 24):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(dtype="F32", shape=(2, 3), offsets=(0, 24), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "header does not fit"),
        (b"\xff" * 9, "header does not fit"),
        (packed({"a": tensor()})[:20], "header does not fit"),
        ((5 * 2**20).to_bytes(8, "little") + b" " * 6 * 2**20, "header does not fit"),
        (pickle.dumps({"a": 1}), "begins like a pickle"),
        (b"PK\x03\x04" + b"\1" * 20, "begins like a zip archive"),
        (packed([]), "not a JSON object"),
        (packed(b'{"a": {}, "a": {}}'), "the key 'a' comes twice"),
        (packed(b'{"a":' * 1000), "nested"),
        (packed({"__metadata__": {"a": 1}}, b""), "metadata is not a table of text"),
        (packed({"a": tensor(more=1)}), "other keys than"),
        (packed({"a": [1]}), "other keys than"),
        (packed({"a": tensor(dtype="PICKLE")}), "a type that"),
        (packed({"a": tensor(dtype=["F32"])}), "a type that"),
        (packed({"a": tensor(shape=(2, -3))}), "not a list of sizes"),
        (packed({"a": tensor(shape=(2, 3.0))}), "not a list of sizes"),
        (packed({"a": tensor(shape=(True, 6))}), "not a list of sizes"),
        (packed({"a": tensor(shape=(1,) * 7 + (2, 3))}), "not a list of sizes"),
        (packed({"a": tensor(offsets=(0, 24, 24))}), "not a list of sizes"),
        (packed({"a": tensor(shape=(2**40, 2**20))}), "24 bytes for a shape of 1099511627776x1048576"),
        (packed({"a": tensor(offsets=(24, 0))}), "-24 bytes for"),
        (packed({"a": tensor()}, b"\0" * 23), "do not fill the file"),
        (packed({"a": tensor()}, b"\0" * 25), "do not fill the file"),
        (packed({"a": tensor(), "b": tensor()}), "overlap"),
        (packed({"a": tensor(shape=(3,), offsets=(12, 24))}), "leave gaps"),
    ],
)
def test_hostile_files_are_refused(content, words):
    with pytest.raises(ValueError, match=words):
        check_tensors(content)
