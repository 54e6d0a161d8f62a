"""`keensight predict`: a bundle's answers for pictures. No torch is loaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from keensight.data.places import pictures_in, places_given
from keensight.data.stores import place_of
from keensight.data.unlabelled import Picture
from keensight.inference.predictor import Answer, Predictor, load, refusal
from keensight.pipeline import in_parts
from keensight.pipeline.answer_files import folders, table
from keensight.pipeline.in_parts import Answered
from keensight.pipeline.watch import Watcher
from keensight.values import Prediction


def predict(
    bundle: str | Path,
    pictures: str | Path | Iterable[str | Path],
    *,
    out: str | Path | None = None,
    sort_into: str | Path | None = None,
    least_sure_first: bool = False,
    key: str | Path | None = None,
) -> list[Prediction]:
    """Return a prediction for each picture file, and for each picture in the folders or other DATA given.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        pictures: Picture files, folders of them, or DATA in any form that `train` takes; labels are ignored.
        out: Write the answers into this new .csv or .jsonl file, too. In a .csv, an apostrophe (') comes before text
            such as "=1+1", which a spreadsheet would run as a formula; .jsonl has the text as it is.
        sort_into: Copy each picture into a folder named after its label in this new or empty folder, or into one named
            "not sure" or "none of these". No picture is moved.
        least_sure_first: Give those first that are not sure, then by rising probability.
        key: Refuse the bundle unless the owner of this public key signed it.

    Raises:
        UsageError: `out` exists or has another suffix, or `sort_into` is not empty.
        PictureError: one of them cannot be read. `predict_each` goes on instead.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.

    Examples:
        >>> import keensight
        >>> keensight.predict("runs/digits/bundle", ["seven.png"])[0].label  # doctest: +SKIP
        '7'
    """
    answers = []
    for file, answer in predict_each(
        bundle, pictures, out=out, sort_into=sort_into, least_sure_first=least_sure_first, key=key
    ):
        if not isinstance(answer, Prediction):
            raise type(answer)(refusal(file, answer))
        answers.append(answer)
    return answers


def predict_in_parts(
    bundle: str | Path,
    pictures: str | Path | Iterable[str | Path],
    *,
    out: str | Path,
    workers: int = 1,
    cluster: str | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Answered:
    """Answer for many pictures into a folder of Parquet files, by several workers, each on a core of its own.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        pictures: Picture files, folders of them, or DATA in any form that `train` takes; labels are ignored.
        out: A new folder, or a URL such as s3://bucket/answers. Killed anywhere, the same call goes on: parts that are
            there are kept, and in the end each picture has one row.
        workers: How many processes answer.
        cluster: The address of a Ray cluster whose machines answer, such as 10.0.0.1:6379; all must see the same
            `bundle`, `pictures` and `out`. This machine alone if left out.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        RunError: `out` holds answers for other pictures or of another bundle, or something else.
        KeensightError: as `predict` does, or pyarrow is not installed.

    Examples:
        >>> import keensight
        >>> keensight.predict_in_parts("runs/digits/bundle", "digits", out="answers", workers=2)  # doctest: +SKIP
        Answered(out='answers', answers=1797, failed=0, parts=8, kept=0)
    """
    paths = places_given(pictures)
    watcher = watcher or Watcher()
    if cluster is None:
        return in_parts.predict_in_parts(bundle, paths, out, workers, key, watcher)
    from keensight.scale.cluster import SAME_TO_ANSWER
    from keensight.scale.hired import hire_on

    hire = hire_on(cluster, SAME_TO_ANSWER, watcher.note)
    return in_parts.predict_in_parts(bundle, paths, out, workers, key, watcher, hire)


def predict_each(
    bundle: str | Path,
    pictures: str | Path | Iterable[str | Path],
    *,
    out: str | Path | None = None,
    sort_into: str | Path | None = None,
    least_sure_first: bool = False,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Iterator[tuple[Path, Answer]]:
    """Yield every file with its Prediction, or with the PictureError that says why it has none, in order.

    `out` and `sort_into` are complete when the last one has been taken.
    """
    paths = places_given(pictures)
    predictor, watcher = load(bundle, key), watcher or Watcher()
    watcher.opened(predictor.bundle)
    wishes = (None if out is None else Path(out), None if sort_into is None else Path(sort_into), least_sure_first)
    return _answers(predictor, [place_of(str(path)) for path in paths], watcher, *wishes)


def _answers(
    predictor: Predictor,
    paths: Iterable[Path | str],
    watcher: Watcher,
    out: Path | None,
    sort_into: Path | None,
    least_sure_first: bool,
) -> Iterator[tuple[Path, Answer]]:
    labels = predictor.bundle.labels
    with ExitStack() as opened:
        write = opened.enter_context(table(out, labels)) if out is not None else None
        copy = opened.enter_context(folders(sort_into, labels)) if sort_into is not None else None
        seen: deque[Picture] = deque()  # those that are not answered yet
        pictures = pictures_in(paths, opened, watcher.left_out)
        answers = predictor.on_files(pictures if copy is None else _noted(pictures, seen))
        answers = answers if copy is None else _copied(answers, seen, copy)
        for file, answer in sorted(answers, key=_sureness) if least_sure_first else answers:
            if write is not None:
                write(file, answer)
            yield file, answer


def _noted(pictures: Iterable[Picture], seen: deque[Picture]) -> Iterator[Picture]:
    for picture in pictures:
        seen.append(picture)
        yield picture


def _copied(
    answers: Iterable[tuple[Path, Answer]], seen: deque[Picture], copy: Callable[[Picture, Answer], None]
) -> Iterator[tuple[Path, Answer]]:
    for file, answer in answers:
        copy(seen.popleft(), answer)
        yield file, answer


def _sureness(answered: tuple[Path, Answer]) -> tuple[bool, bool, float]:
    answer = answered[1]
    return (True, not answer.abstained, answer.probability) if isinstance(answer, Prediction) else (False, False, 0.0)
