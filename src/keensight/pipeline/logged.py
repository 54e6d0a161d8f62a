"""A run's numbers for programs that compare runs: each row of LOGS is one of these, and used only where installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, TypeAlias

from keensight.errors import KeensightError, UsageError, suggestion
from keensight.training.recipe import to_toml
from keensight.values import Epoch, Metrics, Recipe, Report
from keensight.workspace import RunFolder

Write: TypeAlias = Callable[[Mapping[str, float], int], None]  # numbers by name, and the epoch that they belong to
MLFLOW_PARAMS = 100  # that MLflow takes at once


class Log(NamedTuple):
    """A program that runs are logged to: its package, and how a run is opened in it."""

    package: str
    open: Callable[[RunFolder, Recipe], AbstractContextManager[Write]]


@contextmanager
def _tensorboard(files: RunFolder, recipe: Recipe) -> Iterator[Write]:
    """Write event files into the run's folder; those of an interrupted run's epochs are hidden by their repetition."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(files.path / "tensorboard"), purge_step=0) as writer:
        indented = "".join(f"    {line}\n" for line in to_toml(recipe).splitlines())  # Markdown's way to show code
        writer.add_text("recipe", indented, 0)

        def write(numbers: Mapping[str, float], epoch: int) -> None:
            for name, number in numbers.items():
                writer.add_scalar(name, number, epoch)
            writer.flush()

        yield write


@contextmanager
def _mlflow(files: RunFolder, recipe: Recipe) -> Iterator[Write]:
    """Log a run to MLflow, wherever its own MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say."""
    import mlflow

    with mlflow.start_run(run_name=files.path.name, nested=mlflow.active_run() is not None):
        params = list(recipe.flat().items())
        for start in range(0, len(params), MLFLOW_PARAMS):
            mlflow.log_params(dict(params[start : start + MLFLOW_PARAMS]))

        def write(numbers: Mapping[str, float], epoch: int) -> None:
            mlflow.log_metrics(dict(numbers), step=epoch)

        yield write


LOGS = {"tensorboard": Log("tensorboard", _tensorboard), "mlflow": Log("mlflow", _mlflow)}


def check_log(name: str | None) -> None:
    """Raise UsageError for a log that is not in the table, and KeensightError for one that is not installed."""
    if name is None:
        return
    if name not in LOGS:
        raise UsageError(f"--log is '{name}'. {suggestion(name, LOGS)}Accepted are {' and '.join(LOGS)}.")
    package = LOGS[name].package
    if importlib.util.find_spec(package) is None:
        raise KeensightError(
            f"--log {name} needs the package '{package}', which is not installed: pip install {package}. Without "
            "--log, the same numbers are in the run's history.jsonl and report.json."
        )


@contextmanager
def logged(name: str | None, files: RunFolder, recipe: Recipe, history: Sequence[Epoch]) -> Iterator[Write]:
    """Yield what writes numbers to the log called `name`, after those of the epochs that were there; None is no log.

    Raises KeensightError if the log cannot be written.
    """
    if name is None:
        yield lambda numbers, epoch: None
        return
    with ExitStack() as opened:
        with _told(name, "open this run"):
            to_log = opened.enter_context(LOGS[name].open(files, recipe))

        def write(numbers: Mapping[str, float], epoch: int) -> None:
            with _told(name, f"take the numbers of epoch {epoch}"):
                to_log(numbers, epoch)

        for epoch in history:
            write(of_epoch(epoch), epoch.number)
        yield write


@contextmanager
def _told(name: str, task: str) -> Iterator[None]:
    """Turn whatever a log raises, for a full disk or a server that is gone, into a KeensightError."""
    try:
        yield
    except Exception as error:
        raise KeensightError(
            f"{name} could not {task} ({type(error).__name__}: {error}). The run itself is kept up to its last "
            "checkpoint: mend that, and go on with --resume, with or without --log."
        ) from error


def of_epoch(epoch: Epoch) -> dict[str, float]:
    """Return an epoch's numbers by name."""
    return {
        "train/loss": epoch.train_loss,
        "train/accuracy": epoch.train_accuracy,
        "val/loss": epoch.val_loss,
        "val/accuracy": epoch.val_accuracy,
        "learning_rate": epoch.learning_rate,
        "seconds": epoch.seconds,
    }


def of_report(report: Report) -> dict[str, float]:
    """Return the numbers of the bundle by name: its metrics on validation and, if there are any, test pictures."""
    return {
        f"bundle/{split}/{name}": number
        for split, metrics in (("val", report.val), ("test", report.test))
        if metrics is not None
        for name, number in _numbers(metrics).items()
    }


def _numbers(metrics: Metrics) -> dict[str, Any]:
    names = ("accuracy", "accuracy_low", "accuracy_high", "loss", "n", "balanced_accuracy", "roc_auc", "ece")
    return {name: getattr(metrics, name) for name in names if getattr(metrics, name) is not None}
