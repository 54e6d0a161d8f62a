import json
import math
import sys

import pytest

import keensight
from keensight.errors import KeensightError, UsageError
from keensight.pipeline.logged import LOGS, check_log, logged
from keensight.training.recipe import load_recipe
from keensight.values import Epoch
from keensight.workspace import RunFolder

MLFLOW = """
said = []


class _Run:
    def __enter__(self):
        said.append("begin")

    def __exit__(self, kind, error, tb):
        said.append("end" if kind is None else kind.__name__)


def active_run():
    return None


def start_run(run_name, nested):
    said.append((run_name, nested))
    return _Run()


def log_params(params):
    assert len(params) <= 100  # as MLflow itself refuses more
    said.append(params)


def log_metrics(metrics, step):
    if step == 99:
        raise ConnectionError("no route to host")
    said.append((step, metrics))
"""
EPOCHS = [Epoch(n, 1 / n, 0.5, 2 / n, 0.25, 0.1, 3.0, best=True) for n in (1, 2)]


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A package of MLflow's name, with the functions that are called, which remembers them."""
    (tmp_path / "mlflow.py").write_text(MLFLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    yield __import__("mlflow")
    sys.modules.pop("mlflow")


@pytest.mark.thorough
def test_a_run_is_logged_with_its_recipe_its_epochs_and_what_its_bundle_gives(mlflow, tmp_path, brief):
    run = keensight.train("digits", out=tmp_path / "mine", set=["epochs=2"], log="mlflow")
    (name, _), begin, params, *numbers, end = mlflow.said
    assert (name, begin, end) == ("mine", "begin", "end")
    assert params["epochs"] == 2 and params["model"] == "cnn"
    history = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [(step, said["val/accuracy"], said["train/loss"]) for step, said in numbers[:-1]] == [
        (epoch["number"], epoch["val_accuracy"], epoch["train_loss"]) for epoch in history
    ]
    step, said = numbers[-1]
    assert step == 2 and said["bundle/test/accuracy"] == run.report.test.accuracy
    assert said["bundle/val/loss"] == run.report.val.loss and all(map(math.isfinite, said.values()))


def test_epochs_before_an_interruption_are_logged_again_and_failures_are_told(mlflow, tmp_path):
    recipe = load_recipe("default")
    refused = pytest.raises(KeensightError, match=r"mlflow could not take the numbers of epoch 99 .*no route.*--resume")
    with refused, logged("mlflow", RunFolder(tmp_path / "run"), recipe, EPOCHS) as write:
        write({"val/loss": 1.0}, 99)
    assert [said[0] for said in mlflow.said[3:-1]] == [1, 2] and mlflow.said[-1] == "KeensightError"
    with logged(None, RunFolder(tmp_path / "run"), recipe, EPOCHS) as write:
        write({"val/loss": 1.0}, 99)  # no log, and nothing happens


def test_a_log_that_is_unknown_or_not_installed_is_told_before_anything_is_done(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="'tensorbord'. Did you mean 'tensorboard'.*tensorboard and mlflow"):
        keensight.train("digits", out=tmp_path / "run", log="tensorbord")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name in LOGS:
        with pytest.raises(KeensightError, match=f"package '{name}', which is not installed: pip install {name}"):
            keensight.train("digits", out=tmp_path / "run", log=name)
    assert not (tmp_path / "run").exists()
    check_log(None)


def test_tensorboard_reads_what_was_written(tmp_path):
    """Where it is installed: it is none of our dependencies."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # the second time as a run that goes on
        with logged("tensorboard", RunFolder(tmp_path), load_recipe("default"), EPOCHS) as write:
            write({"bundle/test/accuracy": 0.5}, 2)
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(each.step, each.value) for each in found.Scalars("val/loss")]
    assert losses == [(epoch.number, pytest.approx(epoch.val_loss)) for epoch in EPOCHS]
    assert b"[train]" in found.Tensors("recipe/text_summary")[-1].tensor_proto.string_val[0]
