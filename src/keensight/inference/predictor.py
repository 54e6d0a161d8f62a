"""Answers for pictures with a bundle: NumPy, Pillow and an engine, without torch.

Shape letters: N images, H height, W width, C channels, K classes; R rows, h and w of a feature map.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import chain, compress, islice
from pathlib import Path
from typing import TypeAlias, overload
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.onnx_head import head_of, with_output
from keensight.bundle.read import Bundle, damaged, file_of, read_bundle
from keensight.data.in_time import InTime
from keensight.data.looks import BLANK_LEVELS
from keensight.data.polarity import match_polarity
from keensight.data.unlabelled import IN_HAND, Given, Picture, given_picture, read_picture
from keensight.engines.table import DEFAULT, ENGINES, Engine
from keensight.errors import BundleError, PictureError
from keensight.evaluation.conformal import label_sets
from keensight.executor import Threads
from keensight.explanation.head import Head
from keensight.inference.choosing import as_answered_by, fastest
from keensight.machine import cores, images_at_a_time
from keensight.values import NONE_OF_THESE, FloatArray, Prediction, Split, Uint8Array

MANY = 200  # pictures: from so many on, choosing the fastest engine pays, even if it takes a second
SINGLE_STEP = 32  # the most pictures that are given to the model at a time
INVERTED = "was inverted, because it is light where all training pictures are dark, or the other way round"
BLANK = "is blank: all of it has nearly one colour"
UNSURE = "not sure: no label is likely enough"
TWO_FACES = (
    "shows something else once it is made small without averaging, as if made to deceive (an image-scaling attack); "
    "this answer is for what one sees, as averaging gives it"
)
CAUGHT = "is unlike anything that the model has learnt, so it gets the label for all the rest"
Answer: TypeAlias = Prediction | PictureError


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A network's last feature maps for a picture, float32 RChw by name, what it answered, float32 K, and how."""

    maps: Mapping[str, FloatArray]
    probabilities_K: FloatArray
    head: Head


class Predictor:
    """A bundle, loaded and ready to answer: `Predictor("runs/digits/bundle")("a-picture.jpg").label`."""

    def __init__(
        self,
        bundle: Bundle | str | Path,
        onnx: bytes | None = None,
        *,
        key: str | Path | None = None,
        threads: int | None = None,
        spins: bool = True,
        engine: str = DEFAULT,
        chooses: bool = True,
    ) -> None:
        """Check a bundle's model and load it into the `engine`, a row of `ENGINES`.

        A path is opened as `load` does, with `key`; an opened bundle may come with another model than its own, `onnx`.
        By default all cores work on one batch. Threads that do not spin sleep while they wait for each other. Where it
        `chooses`, many pictures are answered by the fastest engine.
        """
        if not isinstance(bundle, Bundle):
            bundle = read_bundle(bundle, key)
        onnx = file_of(bundle, "model.onnx") if onnx is None else onnx
        self.bundle = bundle
        self.onnx = onnx
        self._spins, self._row, self._threads, self._chooses = spins, engine, threads or cores(), chooses
        self._said: WeakKeyDictionary[Split, dict[str, FloatArray]] = WeakKeyDictionary()
        try:
            outputs = check_onnx(onnx, bundle.preprocessing, len(bundle.labels))
            self._head = head_of(onnx)
            self._maps = tuple({} if self._head is None else dict.fromkeys(self._head.maps.values()))
            if bundle.info.rejector is not None and "oddness" not in outputs:
                raise ValueError("it has no output oddness, by which its bundle.json rejects pictures")
        except ValueError as error:
            raise damaged(bundle.path / "model.onnx", error) from error
        self.engine = self._opened(self._threads)

    @cached_property
    def _on_one_core(self) -> Engine:
        return self._opened(1)

    @cached_property
    def _fastest(self) -> Predictor:
        """Itself, or what answers in the same way with an engine that is faster for many pictures."""
        name = fastest(self.bundle.info, self.onnx) if self._row == DEFAULT else self._row
        if name == self._row:
            return self
        other = copy.copy(self)
        other.__dict__.pop("_on_one_core", None)
        other.bundle, other._row, other._said = as_answered_by(name, self.bundle), name, WeakKeyDictionary()
        return other

    def _for_many(self, are_many: bool) -> Engine:
        """Return the engine for batches that are answered side by side, if there `are_many`: each has one core.

        Two calls that both used all cores took 1.35 times the processor time, most of it spinning.
        """
        return self._on_one_core if are_many and self._threads > 1 else self.engine

    def _opened(self, threads: int) -> Engine:
        onnx = reduce(with_output, self._maps, self.onnx)
        try:
            return ENGINES[self._row](onnx, threads, self._spins)
        except Exception as error:  # engines raise their own exception classes
            raise BundleError(
                f"{self.bundle.path}/model.onnx cannot be loaded ({str(error)[:300]}). Train or export it again."
            ) from error

    @overload
    def __call__(self, pictures: list[Given] | tuple[Given, ...]) -> list[Prediction]: ...

    @overload
    def __call__(self, pictures: Given) -> Prediction: ...

    def __call__(self, pictures: Given | list[Given] | tuple[Given, ...]) -> Prediction | list[Prediction]:
        """Answer for a picture, or for each of a list: a path, a PIL image, or an array uint8 HW or HWC.

        A picture that is no file has an empty `file` in its answer. Raises PictureError if one cannot be read.
        """
        if isinstance(pictures, list | tuple):
            return self._answers(pictures)
        return self._answers([pictures])[0]

    def _answers(self, pictures: Iterable[Given]) -> list[Prediction]:
        answers = []
        for number, (file, answer) in enumerate(self.on_files(map(given_picture, pictures)), 1):
            if isinstance(answer, PictureError):
                raise type(answer)(refusal(file, answer) if file != IN_HAND else f"Picture {number}: {answer}.")
            answers.append(answer if file != IN_HAND else replace(answer, file=""))
        return answers

    def probabilities(self, images_NHWC: Uint8Array) -> tuple[FloatArray, FloatArray]:
        """Return calibrated probabilities float32 NK for uint8 NHWC, and a bool N: which pictures were inverted."""
        images_NHWC, inverted = match_polarity(images_NHWC, self.bundle.borders)
        return self.probabilities_as_seen(images_NHWC), inverted

    def probabilities_as_seen(self, images_NHWC: Uint8Array) -> FloatArray:
        """Return calibrated probabilities float32 NK for uint8 NHWC, without inverting any."""
        return self.engine.run(images_NHWC)["probabilities"]

    def features(self, seen_HWC: Uint8Array) -> Features | None:
        """Return a uint8 picture's features; None if the network does not end in what follows its last maps' means."""
        if self._head is None:
            return None
        outputs = self.engine.run(seen_HWC[None], self._maps)
        return Features({name: outputs[name] for name in self._maps}, outputs["probabilities"][0], self._head)

    def outputs_on_split(self, split: Split) -> dict[str, FloatArray]:
        """Return all that the network says of a split's pictures: probabilities float32 NK, and perhaps oddness N.

        It is asked once for each `Split`.
        """
        if split in self._said:
            return self._said[split]
        size = self.bundle.preprocessing
        batches = list(split.batches(images_at_a_time(size.height, size.width, size.channels)))
        engine = self._for_many(len(batches) > 1)
        with Threads(self._threads) as threads:
            found = list(
                threads.map(
                    lambda batch: engine.run(match_polarity(split.gather(batch), self.bundle.borders)[0]), batches
                )
            )
        self._said[split] = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        return self._said[split]

    def deciding_as(self, bundle: Bundle) -> Predictor:
        """Return a predictor of the same network whose `bundle` decides otherwise what is none of its classes."""
        other = copy.copy(self)
        other.bundle = bundle
        return other

    def on_split(self, split: Split) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return calibrated probabilities float32 NK for a whole split, and a bool N: which are none of the classes.

        With a catch-all label, it has the pictures that are none of the others.
        """
        probabilities_NK, odd_N = self.decided(self.outputs_on_split(split))
        return probabilities_NK, odd_N & (self._catch_all is None)

    def decided(self, outputs: Mapping[str, FloatArray]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the probabilities float32 NK that the network's `outputs` mean, and a bool N: what is odd.

        A catch-all label takes odd pictures. All others together keep the share of the model's own pictures that are
        that odd: it is how likely an odd picture is to be one of them.
        """
        probabilities_NK, rejector = outputs["probabilities"], self.bundle.info.rejector
        if rejector is None:
            return probabilities_NK, np.zeros(len(probabilities_NK), bool)
        odd_N = ~(outputs["oddness"] <= rejector.threshold)
        if self._catch_all is not None and odd_N.any():
            probabilities_NK = probabilities_NK.copy()
            probabilities_NK[odd_N] *= 1 - rejector.coverage
            probabilities_NK[odd_N, self._catch_all] += 1 - probabilities_NK[odd_N].sum(axis=1)
        return probabilities_NK, odd_N

    @property
    def _catch_all(self) -> int | None:
        rejector = self.bundle.info.rejector
        return None if rejector is None or rejector.catch_all is None else self.bundle.labels.index(rejector.catch_all)

    def predict(self, *files: str | Path) -> list[Prediction]:
        """Return a prediction for each picture file, in order. Raises PictureError if one of them cannot be read."""
        return self._answers(files)

    def on_files(self, files: Iterable[Path | Picture]) -> Iterator[tuple[Path, Answer]]:
        """Yield each file with its answer, or with the PictureError that says why there is none, in order."""
        for file, _, answer in self.on_pictures(files):
            yield file, answer

    def on_pictures(self, files: Iterable[Path | Picture]) -> Iterator[tuple[Path, Uint8Array | None, Answer]]:
        """Yield what `on_files` does, with the picture as the model sees it, uint8 HWC, between file and answer.

        Each core (or each of as many `threads`) decodes some pictures and then runs the model on them, so that both go
        on side by side.
        """
        size = self.bundle.preprocessing
        at_a_time = max(8, min(SINGLE_STEP, images_at_a_time(size.height, size.width, size.channels) // self._threads))
        remaining = iter(files)
        first = list(islice(remaining, MANY))
        predictor = self._fastest if len(first) == MANY and self._chooses else self
        is_other = predictor is not self  # and then it has an engine for one core alone
        engine = predictor._on_one_core if is_other else self._for_many(len(first) > at_a_time)
        remaining = chain(first, remaining)
        some_at_a_time = iter(lambda: list(islice(remaining, at_a_time)), [])
        with Threads(self._threads) as threads, InTime() as in_time:
            for answers in threads.map(lambda some: predictor._some(some, engine, in_time), some_at_a_time):
                yield from answers

    def _some(
        self, pictures: list[Path | Picture], engine: Engine, in_time: InTime
    ) -> list[tuple[Path, Uint8Array | None, Answer]]:
        """Return what `on_pictures` yields, for a few pictures."""
        given = [each if isinstance(each, Picture) else Picture(each, partial(read_picture, each)) for each in pictures]
        files, decoded = [picture.path for picture in given], [self._decode(picture, in_time) for picture in given]
        good = [str(file) for file, image in zip(files, decoded, strict=True) if not isinstance(image, PictureError)]
        read = [each for each in decoded if not isinstance(each, PictureError)]
        images, deceptive = [image for image, _ in read], [two_faced for _, two_faced in read]
        answers = iter(self._answer(good, np.stack(images), engine, deceptive) if good else ())
        return [
            (file, None, image) if isinstance(image, PictureError) else (file, *next(answers))
            for file, image in zip(files, decoded, strict=True)
        ]

    def on_images(self, images_NHWC: Uint8Array) -> list[Prediction]:
        """Return a prediction for each decoded picture, uint8 NHWC, in order; their `file` is empty."""
        return [prediction for _, prediction in self._answer([""] * len(images_NHWC), images_NHWC, self.engine)]

    def _decode(self, picture: Picture, in_time: InTime) -> tuple[Uint8Array, bool] | PictureError:
        try:
            return in_time.decode_and_compare(picture.read(), self.bundle.preprocessing)
        except PictureError as error:
            return error

    def _answer(
        self, files: list[str], images_NHWC: Uint8Array, engine: Engine, deceptive: Sequence[bool] = ()
    ) -> Iterator[tuple[Uint8Array, Prediction]]:
        """Yield each picture as the model sees it, uint8 HWC, and what it is."""
        seen_NHWC, inverted_N = match_polarity(images_NHWC, self.bundle.borders)
        probabilities_NK, odd_N = self.decided(engine.run(seen_NHWC))
        catches, rule = self._catch_all is not None, self.bundle.info.label_sets
        sets_NK = [None] * len(seen_NHWC) if rule is None else label_sets(probabilities_NK, rule).tolist()
        # one axis after the other: NumPy takes 40 times as long over both at once
        spreads_NC = images_NHWC.max(axis=1).max(axis=1) - images_NHWC.min(axis=1).min(axis=1)
        # lists, as indexing arrays number by number took as long as a small model
        blank_N = spreads_NC.max(axis=1) < BLANK_LEVELS
        two_faced_N = np.array(deceptive or [False] * len(files))
        columns = (probabilities_NK.argmax(axis=1), probabilities_NK, inverted_N, blank_N, odd_N, two_faced_N)
        labels, abstain_below = self.bundle.labels, self.bundle.abstain_below
        rows = zip(files, seen_NHWC, sets_NK, *(column.tolist() for column in columns), strict=True)
        for file, seen_HWC, held, top, probabilities, inverted, blank, odd, two_faced in rows:
            unsure = probabilities[top] < abstain_below
            reasons = (NONE_OF_THESE,) * (odd and not catches) + (f"it {BLANK}",) * blank + (UNSURE,) * unsure
            yield (
                seen_HWC,
                Prediction(
                    file=file,
                    label=labels[top],
                    probability=probabilities[top],
                    probabilities=dict(zip(labels, probabilities, strict=True)),
                    abstained=bool(reasons),
                    notes=(INVERTED,) * inverted
                    + (BLANK,) * blank
                    + (TWO_FACES,) * two_faced
                    + (CAUGHT,) * (odd and catches),
                    reasons=reasons,
                    label_set=None if held is None else tuple(compress(labels, held)),
                ),
            )


def load(path: str | Path, key: str | Path | None = None, *, though_changed: bool = False) -> Predictor:
    """Open a bundle, or the bundle of a run folder, for predicting.

    With `key`, a public key's file, the bundle's signature is verified first. `Predictor.bundle` has that key's hash.
    Without it, a signed bundle's files must still be those that its signature lists, unless `though_changed`.

    Raises:
        BundleError: it is missing, incomplete, hostile, or of a format that this version does not read.
        GateError: it was changed after it was signed; or there is a `key`, which is not the one that signed it.
        SigningKeyError: the key cannot be used.
    """
    return Predictor(read_bundle(path, key, though_changed=though_changed))


def num_inverted(predictor: Predictor, split: Split) -> int:
    """Return how many pictures of a split are inverted before the model sees them."""
    borders = predictor.bundle.borders
    if not borders.inverts or not len(split):
        return 0
    batches = split.batches(images_at_a_time(*split.shape))
    return sum(int(match_polarity(split.gather(batch), borders)[1].sum()) for batch in batches)


def inverted_of(predictor: Predictor, split: Split, named: str) -> str:
    """Say how many pictures of a split are inverted before the model sees them; "" if none is.

    `named` is what they are called, such as "test pictures".
    """
    return told_inverted(num_inverted(predictor, split), len(split), named)


def told_inverted(count: int, total: int, named: str) -> str:
    """Say that `count` of `total` pictures are inverted; "" for none.

    >>> told_inverted(0, 10, "pictures")
    ''
    """
    return f"{count:,} of {total:,} {named} {'was' if count == 1 else 'were'}{INVERTED[3:]}." if count else ""


def refusal(file: Path, error: PictureError) -> str:
    """Say why there is no answer for a file."""
    return f"{file} cannot be used: {error}. Correct its name, replace it, or leave it out."
