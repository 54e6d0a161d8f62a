import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

import keensight
from keensight.data import in_time
from keensight.data.polarity import Borders
from keensight.data.sources import reader
from keensight.engines.onnx_runtime import OnnxRuntime
from keensight.engines.table import ENGINES
from keensight.errors import BundleError, PictureError
from keensight.inference import predictor as under_test
from keensight.inference.predictor import inverted_of, load
from keensight.values import NONE_OF_THESE, Preprocessing, Split


def test_predicting_files_and_arrays_agree(trained, tmp_path):
    predictor = load(trained.bundle)
    assert predictor.bundle.preprocessing == Preprocessing(8, 8, 1)
    images = np.random.default_rng(0).integers(0, 90, (70, 8, 8, 1), np.uint8)
    images[:, 2:6, 3:5] = 250
    files = []
    for i, image in enumerate(images):
        files.append(tmp_path / f"{i:02}.png")
        Image.fromarray(image[..., 0]).save(files[-1])
    together = predictor.probabilities_as_seen(images)
    one_by_one = list(predictor.on_files(files))
    assert [file for file, _ in one_by_one] == files
    for answer, (_, prediction) in zip(together, one_by_one, strict=True):
        assert np.allclose(list(prediction.probabilities.values()), answer, atol=1e-5)
        assert prediction.label == str(answer.argmax()) and prediction.probability == max(
            prediction.probabilities.values()
        )
        assert prediction.abstained == bool(prediction.reasons)
        assert (under_test.UNSURE in prediction.reasons) == (prediction.probability < 0.6)
    assert sum(one_by_one[0][1].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_predictor_is_called_with_a_path_an_image_an_array_or_a_list_of_them(trained, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    image, file = Image.fromarray(array), tmp_path / "a.png"
    image.save(file)
    predictor = keensight.Predictor(trained.bundle)
    by_file = predictor(file)
    assert by_file.file == str(file) and predictor(str(file)) == by_file
    others = predictor([image, array])
    assert [other.file for other in others] == ["", ""]
    assert all(other.probabilities == pytest.approx(by_file.probabilities, abs=1e-5) for other in others)
    with pytest.raises(PictureError, match=r"^Picture 2: it is an array of float64"):
        predictor([image, array / 255])


def test_many_pictures_are_asked_about_on_one_core_each_with_the_same_answers(trained, tmp_path, monkeypatch):
    digits = keensight.open_dataset("digits")
    with reader(digits) as read:
        for i, sample in enumerate(digits.samples[:70]):
            Image.fromarray(read(sample)[..., 0]).save(tmp_path / f"{i:02}.png")
    files = sorted(tmp_path.glob("*.png"))
    made = []

    def remembered(onnx, threads, spins):
        made.append(threads)
        return OnnxRuntime(onnx, threads, spins)

    monkeypatch.setattr(under_test, "cores", lambda: 2)
    monkeypatch.setitem(ENGINES, "onnxruntime", remembered)
    predictor = load(trained.folder)
    few = [answer for file in files for _, answer in predictor.on_files([file])]
    assert made == [2]  # one call has all cores
    many = [answer for _, answer in predictor.on_files(files)]
    assert made == [2, 1]
    assert [answer.label for answer in many] == [answer.label for answer in few]
    for one, other in zip(many, few, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
    list(predictor.on_files(files))
    assert made == [2, 1]


def test_a_bad_picture_among_good_ones_is_an_answer_too(trained, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("text")
    answers = dict(load(trained.folder).on_files([tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "none.png"]))
    assert isinstance(answers[tmp_path / "bad.png"], PictureError) and "not a picture" in str(
        answers[tmp_path / "bad.png"]
    )
    assert str(answers[tmp_path / "none.png"]) == "no such file or directory"
    assert answers[tmp_path / "good.png"].file == str(tmp_path / "good.png")
    with pytest.raises(PictureError, match=r"bad\.png cannot be used"):
        keensight.predict(trained.bundle, [tmp_path / "bad.png"])


def test_one_file_or_many_without_opening_the_bundle_again(trained, tmp_path):
    Image.new("L", (8, 8), 9).save(tmp_path / "a.png")
    predictor = load(trained.bundle)
    (answer,) = predictor.predict(str(tmp_path / "a.png"))
    assert answer == keensight.predict(trained.bundle, tmp_path / "a.png")[0]
    assert predictor.predict(tmp_path / "a.png", tmp_path / "a.png") == [answer, answer]
    with pytest.raises(PictureError, match=r"nowhere\.png cannot be used: no such file"):
        predictor.predict(tmp_path / "a.png", tmp_path / "nowhere.png")


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_blank_picture_is_no_answer(trained, tmp_path, colour):
    """The project's own complaint: a white square must not be a husky at 95 %."""
    Image.new("L", (30, 20), colour).save(tmp_path / "blank.png")
    (answer,) = keensight.predict(trained.bundle, tmp_path / "blank.png")
    assert answer.abstained and "is blank" in answer.notes[-1]


def test_a_picture_that_shows_something_else_when_small_is_noted_and_answered(trained, tmp_path, monkeypatch):
    for i in (1, 2):
        Image.new("L", (8, 8), 60 * i).save(tmp_path / f"{i}.png")
    compare = in_time.decode_and_compare
    monkeypatch.setattr(
        in_time, "decode_and_compare", lambda *given: (compare(*given)[0], compare(*given)[0].max() == 120)
    )
    one, other = keensight.predict(trained.bundle, [tmp_path / "1.png", tmp_path / "2.png"])
    assert under_test.TWO_FACES not in one.notes
    assert under_test.TWO_FACES in other.notes and other.label


def without_oddness(trained):
    proto = onnx.load_from_string((trained.bundle / "model.onnx").read_bytes())
    kept = [node for node in proto.graph.node if not node.name.startswith("oddness")]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    del proto.graph.output[1:]
    return proto


def odd_bundle(trained, tmp_path, rejector, **changes):
    """The trained bundle with a second output: the largest probability, so that the surest picture is the oddest."""
    proto = without_oddness(trained)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis"))
    for op, inputs, output, attributes in (
        ("Unsqueeze", ["probabilities", "axis"], "channel", {}),
        ("GlobalMaxPool", ["channel"], "top", {}),
        ("ReduceMean", ["top"], "oddness", {"axes": [1, 2], "keepdims": 0}),
    ):
        proto.graph.node.append(onnx.helper.make_node(op, inputs, [output], **attributes))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("oddness", onnx.TensorProto.FLOAT, ["N"]))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    info = json.loads((trained.bundle / "bundle.json").read_text()) | {"rejector": rejector, "files": []} | changes
    (tmp_path / "bundle.json").write_text(json.dumps({key: value for key, value in info.items() if value is not None}))
    return tmp_path


def some_digits():
    digits = keensight.open_dataset("digits")
    with reader(digits) as read:
        return np.stack([read(sample) for sample in digits.samples[:40]])


def test_what_is_odder_than_the_threshold_is_none_of_the_classes(trained, tmp_path):
    images, plain = some_digits(), load(trained.bundle)
    expected = plain.on_images(images)
    threshold = float(np.median([answer.probability for answer in expected]))
    rejecting = load(odd_bundle(trained, tmp_path, {"threshold": threshold, "coverage": 0.95}))
    answers = rejecting.on_images(images)
    odd = [answer.probability > threshold for answer in expected]
    assert 5 < sum(odd) < 35
    for answer, before, is_odd in zip(answers, expected, odd, strict=True):
        assert (answer.label, answer.probabilities) == (before.label, pytest.approx(before.probabilities, abs=1e-6))
        assert answer.abstained == (is_odd or answer.probability < 0.6) == bool(answer.reasons)
        assert answer.reasons == (NONE_OF_THESE,) * is_odd + (under_test.UNSURE,) * (answer.probability < 0.6)
        assert answer.notes == before.notes


def test_a_catch_all_takes_what_is_odd(trained, tmp_path):
    images, plain = some_digits(), load(trained.bundle)
    expected = [answer.probabilities for answer in plain.on_images(images)]
    threshold = float(np.median([max(each.values()) for each in expected]))
    rejector = {"threshold": threshold, "coverage": 0.9, "catch_all": "7"}
    catching = load(odd_bundle(trained, tmp_path, rejector))
    num_odd = 0
    for answer, before in zip(catching.on_images(images), expected, strict=True):
        if max(before.values()) > threshold:
            num_odd += 1
            others = {name: pytest.approx(0.1 * p, abs=1e-6) for name, p in before.items() if name != "7"}
            assert {name: p for name, p in answer.probabilities.items() if name != "7"} == others
            assert answer.label == "7" and answer.probability == answer.probabilities["7"] > 0.9 - 1e-6
            assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
            assert not answer.abstained and answer.notes == (under_test.CAUGHT,)
        else:
            assert answer.probabilities == pytest.approx(before, abs=1e-6) and not answer.notes
    assert 5 < num_odd < 35
    with pytest.raises(BundleError, match="gives the label 'eleven', which is none of its labels"):
        load(odd_bundle(trained, tmp_path, rejector | {"catch_all": "eleven"}))


def test_a_bundle_without_a_rejector_takes_every_picture_for_one_of_its_classes(trained, tmp_path):
    images = some_digits()
    images[:10] = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1))
    for answer in load(odd_bundle(trained, tmp_path, None, label_sets=None)).on_images(images):
        assert answer.abstained == (answer.probability < 0.6) and answer.label_set is None


def test_the_set_of_labels_holds_the_likeliest_ones(trained, tmp_path):
    """By hand: labels in the order of their probability, until those before one have more than the quantile."""
    rule = {"quantile": 0.6, "coverage": 0.95, "penalty": 0.05, "free_ranks": 2}
    images = np.random.default_rng(0).integers(0, 120, (40, 8, 8, 1), np.uint8)
    sizes = set()
    for answer in load(odd_bundle(trained, tmp_path, None, label_sets=rule)).on_images(images):
        held, before = [], 0.0
        for rank, (name, p) in enumerate(sorted(answer.probabilities.items(), key=lambda item: -item[1]), 1):
            if before + 0.05 * max(0, rank - 2) <= 0.6:
                held.append(name)
            before += p
        assert answer.label_set == tuple(sorted(held))
        sizes.add(len(held))
    assert len(sizes) > 1


def test_a_rejector_without_oddness_is_refused(trained, tmp_path):
    odd_bundle(trained, tmp_path, {"threshold": 0.5, "coverage": 0.95})
    (tmp_path / "model.onnx").write_bytes(without_oddness(trained).SerializeToString())
    with pytest.raises(BundleError, match=r"model.onnx cannot be read \(it has no output oddness, by which its bundle"):
        load(tmp_path)


def test_how_many_pictures_of_a_split_are_inverted_is_said():
    images = np.zeros((4, 6, 5, 1), np.uint8)
    images[:, 2:4, 2] = 240
    images[2] = 255 - images[2]
    split = Split(images, np.arange(4), np.zeros(4, np.int64), tuple("abcd"))

    def said(part, inverts=True):
        known = SimpleNamespace(borders=Borders(0, 0, inverts))
        return inverted_of(SimpleNamespace(bundle=known), part, "test pictures")

    assert said(split).startswith("1 of 4 test pictures was inverted, because it is light")
    assert said(split.take(np.array([0, 1]))) == said(split.take(np.array([], np.int64))) == said(split, False) == ""


def test_a_picture_that_takes_too_long_is_named_and_all_others_are_answered(trained, tmp_path, monkeypatch):
    for i in range(3):
        Image.new("L", (8, 8), 60 * i).save(tmp_path / f"{i}.png")
    # as much work as is accepted: seconds, and far more than the time that it has here
    Image.new("L", (8000, 8000)).save(tmp_path / "1.jpg", progressive=True)
    monkeypatch.setattr(under_test, "InTime", lambda: in_time.InTime(seconds=0.02))
    answers = dict(load(trained.bundle).on_files(sorted(tmp_path.iterdir())))
    refused = [(file.name, str(answer)) for file, answer in answers.items() if isinstance(answer, PictureError)]
    assert [name for name, _ in refused] == ["1.jpg"] and len(answers) == 4
    assert "decoding it takes more than 0.02 seconds; save it again" in refused[0][1]
