"""`keensight predict`: a bundle's answers for pictures. No torch is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from keensight.data.unlabelled import pictures_in
from keensight.inference.predictor import Answer, Predictor, load, refusal
from keensight.pipeline.watch import Watcher
from keensight.values import Prediction


def predict(
    bundle: str | Path, pictures: str | Path | Iterable[str | Path], *, key: str | Path | None = None
) -> list[Prediction]:
    """Return a prediction for each picture file, and for each picture in the folders or other DATA given.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        pictures: Picture files, folders of them, or DATA in any form that `train` takes; labels are ignored.
        key: Refuse the bundle unless the owner of this public key signed it.

    Raises:
        PictureError: one of them cannot be read. `predict_each` goes on instead.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.

    Example:
        >>> import keensight
        >>> keensight.predict("runs/digits/bundle", ["seven.png"])[0].label  # doctest: +SKIP
        '7'
    """
    answers = []
    for file, answer in predict_each(bundle, pictures, key=key):
        if not isinstance(answer, Prediction):
            raise type(answer)(refusal(file, answer))
        answers.append(answer)
    return answers


def predict_each(
    bundle: str | Path,
    pictures: str | Path | Iterable[str | Path],
    *,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Iterator[tuple[Path, Answer]]:
    """Yield every file with its Prediction, or with the PictureError that says why it has none, in order."""
    paths = [pictures] if isinstance(pictures, (str, Path)) else pictures
    predictor, watcher = load(bundle, key), watcher or Watcher()
    watcher.opened(predictor.bundle)
    return _answers(predictor, [Path(path) for path in paths], watcher)


def _answers(predictor: Predictor, paths: Iterable[Path], watcher: Watcher) -> Iterator[tuple[Path, Answer]]:
    with ExitStack() as archives:
        yield from predictor.on_files(pictures_in(paths, archives, watcher.left_out))
