import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

import keensight
from keensight.errors import BundleError, RunError, UsageError


def test_the_model_alone_answers_as_the_bundle(trained, tmp_path):
    file = keensight.export(trained.bundle, out=tmp_path / "alone.onnx")
    images = np.zeros((2, 8, 8, 1), np.uint8)
    images[1, 2:5, 3] = 200
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    answers = session.run(None, {"images": images})[0]
    np.testing.assert_array_equal(answers, keensight.load(trained.bundle).probabilities(images)[0])


def test_the_folder_of_the_file_is_made_as_train_makes_its_own(trained, tmp_path):
    assert keensight.export(trained.bundle, out=tmp_path / "not" / "yet" / "alone.onnx").stat().st_size > 1000
    with pytest.raises(UsageError, match="exists"):
        keensight.export(trained.bundle, out=tmp_path / "not" / "yet")
    assert [path.name for path in (tmp_path / "not" / "yet").iterdir()] == ["alone.onnx"]


@pytest.mark.thorough
def test_weights_alone_go_into_another_run(trained, tmp_path):
    file = keensight.export(trained.folder, out=tmp_path / "w.safetensors", weights_only=True)
    again = keensight.train(
        "digits", out=tmp_path / "again", weights_only=file, set=["epochs=1", "learning_rate=1e-9", "size=8"]
    )
    before, after = load_file(file), load_file(again.bundle / "model.safetensors")
    for name in before:
        if "running" not in name and "num_batches" not in name:  # batch norm goes on measuring
            np.testing.assert_allclose(before[name], after[name], atol=1e-6)
    assert again.report.recipe["model"]["weights"] == str(file)
    assert again.report.history[0].val_accuracy > trained.report.history[0].val_accuracy


def test_weights_that_do_not_fit_the_recipe_are_refused_before_any_work(trained, tmp_path):
    file = keensight.export(trained.bundle, out=tmp_path / "w.safetensors", weights_only=True)
    for recipe, words in (("dense", "the model has no network.0.weight"), ("default", "is 24x1x3x3 there and 8x1x3x3")):
        with pytest.raises(RunError, match=words):
            keensight.train(
                "digits",
                recipe=recipe,
                out=tmp_path / "no",
                weights_only=file,
                set=["filters=8"] * (recipe == "default"),
            )
    with pytest.raises(RunError, match=r"There is no file .*nowhere"):
        keensight.train("digits", out=tmp_path / "no", weights_only=tmp_path / "nowhere.safetensors")
    assert not (tmp_path / "no").exists()


def test_nothing_is_overwritten_and_half_a_bundle_is_refused(trained, tmp_path):
    (tmp_path / "mine.onnx").write_text("precious")
    with pytest.raises(UsageError, match=r"mine.onnx exists, and nothing is overwritten. Give another name"):
        keensight.export(trained.bundle, out=tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_text() == "precious"
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "bundle.json").write_bytes((trained.bundle / "bundle.json").read_bytes())
    with pytest.raises(BundleError, match="has no .*model.safetensors"):
        keensight.export(tmp_path / "half", weights_only=True)
