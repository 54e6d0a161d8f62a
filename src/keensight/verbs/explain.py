"""`keensight explain`: why a bundle answers as it does for pictures, as a page."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from keensight.bundle.network import network_of
from keensight.data.places import pictures_in
from keensight.data.unlabelled import Picture
from keensight.errors import DataError, PictureError
from keensight.explanation.activations import activations
from keensight.explanation.occlusion import Evidence
from keensight.explanation.weights import first_layer
from keensight.files import write_atomically
from keensight.inference.explaining import reasons
from keensight.inference.predictor import Predictor, load, refusal
from keensight.models.classifier import Classifier
from keensight.pages.explanation import Section, draw, render_html
from keensight.pipeline.watch import Watcher
from keensight.values import Prediction, Uint8Array
from keensight.workspace import Kind, claim

PAGE = "explanation.html"
EXPLANATION = Kind("explanation", "Explain", home=Path("explanations"), begun=PAGE, kept=PAGE, finished=PAGE)
MOST_PICTURES = 100  # on a page: each takes 100 to 500 kB, and a few seconds with a large network


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer for one picture, and the place that it depends on most."""

    prediction: Prediction
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Explanation:
    """An explanation: the bundle, the folder and the page in it, the pictures, and those that cannot be used."""

    bundle: Path
    out: Path
    page: Path
    pictures: tuple[Explained, ...]
    refused: tuple[tuple[Path, PictureError], ...]


def explain(
    bundle: str | Path,
    pictures: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    *,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Explanation:
    """Answer for pictures as `predict` does, and write a page that shows what each answer depends on.

    For each picture, the page shows what the model sees, all probabilities, a heat map of the answer, and the
    activations of the convolutional layers; and once, the weights of the first layer.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        pictures: Picture files, or folders of them; 100 pictures at most.
        out: The page's folder, new or empty; the first free name under explanations/ if left out.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        DataError: there are more than 100 pictures.
        PictureError: none of them can be used. If some can, the others are in `refused`.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.
        RunError: `out` is not empty.

    Examples:
        >>> import keensight
        >>> keensight.explain("runs/digits", "seven.png").pictures[0].evidence.drop  # doctest: +SKIP
        0.41
    """
    watcher = watcher or Watcher()
    with ExitStack() as archives:
        return _explain_all(bundle, _some(pictures, archives, watcher), out, key, watcher)


def _explain_all(
    bundle: str | Path, files: list[Picture], out: str | Path | None, key: str | Path | None, watcher: Watcher
) -> Explanation:
    watcher.stage("opening the bundle")
    predictor = load(bundle, key)
    watcher.opened(predictor.bundle)
    model, known = network_of(predictor.bundle), predictor.bundle
    with claim(Path(out) if out is not None else None, known.name, resume=False, kind=EXPLANATION) as folder:
        explained: list[Explained] = []
        sections: list[Section] = []
        refused: list[tuple[Path, PictureError]] = []
        for file, image_HWC, answer in predictor.on_pictures(files):
            if image_HWC is None or isinstance(answer, PictureError):
                assert isinstance(answer, PictureError)
                refused.append((file, answer))
            else:
                each, section = _explain(predictor, model, image_HWC, answer)
                explained.append(each)
                sections.append(section)
            watcher.explained(len(explained) + len(refused), len(files))
        if not explained:
            raise PictureError(" ".join(refusal(file, error) for file, error in refused))
        page = folder / PAGE
        layer = first_layer(model, known.preprocessing, known.labels)
        left_out = [(str(file), str(error)) for file, error in refused]
        write_atomically(page, render_html(known.name, known.abstain_below, sections, layer, left_out))
    return Explanation(known.path, folder, page, tuple(explained), tuple(refused))


def _some(pictures: str | Path | Iterable[str | Path], archives: ExitStack, watcher: Watcher) -> list[Picture]:
    paths = [pictures] if isinstance(pictures, (str, Path)) else pictures
    found = pictures_in((Path(path) for path in paths), archives, watcher.left_out)
    files = list(islice(found, MOST_PICTURES + 1))
    if len(files) > MOST_PICTURES:
        raise DataError(
            f"More than {MOST_PICTURES} pictures were given. A page explains up to {MOST_PICTURES}: name those that "
            "matter, such as the ones that `keensight predict` is not sure of, or a smaller folder."
        )
    if not files:
        raise DataError("No picture was given. Give picture files, or folders of them; name at least one.")
    return files


def _explain(
    predictor: Predictor, model: Classifier, image_HWC: Uint8Array, answer: Prediction
) -> tuple[Explained, Section]:
    answered = predictor.bundle.labels.index(answer.label)
    found = reasons(predictor, image_HWC, answered)
    section = draw(answer, image_HWC, found.points_HW, activations(model, image_HWC), by_covering=found.by_covering)
    return Explained(answer, section.evidence), section
