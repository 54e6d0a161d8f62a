"""Opens a bundle: reads its files once, verifies them, and checks what predicting relies on. No torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from keensight.bundle.folder import SIGNATURE, read_folder
from keensight.bundle.info import FORMATS, BundleInfo
from keensight.bundle.sbom import NETWORK, SBOM, changed_since
from keensight.bundle.statement import changes_since, open_signature, signed_files
from keensight.bundle.strict_json import strict_json
from keensight.bundle.tensors import check_tensors
from keensight.data.polarity import Borders
from keensight.errors import BundleError, GateError, UsageError, shortlist
from keensight.values import Preprocessing
from keensight.workspace import bundle_in, is_run, run_name


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's folder, the content of its `bundle.json`, and its files.

    `files` are the bytes of all its files, as they were read. `verified_by` is the SHA-256 of the public key that
    verified them, or None if no key was given. `signed_by` is the key that the signature names, verified or not, and
    `changes` is what was changed since it was signed. `edited` are the files that differ from its bill of materials:
    they were changed since it was made. A bundle that is not written yet has no files.
    """

    path: Path
    info: BundleInfo
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    verified_by: str | None = None
    signed_by: str | None = None
    changes: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the model's probabilities."""
        return self.info.labels

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the model's input."""
        return self.info.preprocessing

    @property
    def borders(self) -> Borders:
        """The training pictures' borders, by which an inverted picture is recognised."""
        return self.info.borders

    @property
    def abstain_below(self) -> float:
        """The probability below which an answer is not sure."""
        return self.info.abstain_below

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature, verified or not."""
        return SIGNATURE in self.files

    @property
    def name(self) -> str:
        """Its run's name: that of the run folder, or of the bundle's own folder outside a run."""
        return run_name(self.path)


def file_of(bundle: Bundle, name: str) -> bytes:
    """Return the bytes of one of a bundle's files. Raises BundleError if it has none of that name."""
    if name not in bundle.files:
        raise BundleError(f"{bundle.path} has no {name}, so it is not a whole bundle. Train or export it again.")
    return bundle.files[name]


def read_bundle(path: str | Path, key: str | Path | None = None, *, though_changed: bool = False) -> Bundle:
    """Read a bundle's files once, verify their signature if there is a `key`, and check what predicting relies on.

    Raises what `load` does. The ONNX model is checked by `Predictor`, before ONNX Runtime loads it.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(
            f"The bundle given is of the type {type(path).__name__}. Give the path of its folder, such as "
            "'runs/digits/bundle', or that of its run."
        )
    if key is None:
        folder = _folder_of(Path(path), is_signed=False)
        files, verified_by = read_folder(folder), None
        signed_by, changes = _claimed(files)
    else:
        folder, files, verified_by = _verified(Path(path), key)
        signed_by, changes = verified_by, ()
    if changes and not though_changed:
        raise GateError(
            f"{folder} was changed after it was signed: {'; '.join(changes)}. Get it again from whoever signed it; if "
            f"the change is yours, sign it again with `keensight sign`, or delete its {SIGNATURE}."
        )
    bundle = _described(folder, files)
    edited = _check(folder, bundle.info, files)
    return replace(bundle, files=files, verified_by=verified_by, signed_by=signed_by, changes=changes, edited=edited)


def _claimed(files: Mapping[str, bytes]) -> tuple[str | None, tuple[str, ...]]:
    """Return the key that a bundle's signature names, and what was changed since; neither is verified."""
    if SIGNATURE not in files:
        return None, ()
    try:
        signature = open_signature(files[SIGNATURE])
        return signature.key, tuple(changes_since(signed_files(signature.statement), files))
    except ValueError as error:
        return None, (f"{SIGNATURE} is not a signature by model_signing 1.1 with a key ({error})",)


def _check(folder: Path, info: BundleInfo, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Check that no file is missing, the weights, and the bill of materials; bundles of format 1 may have none.

    Return the other files that differ from the bill of materials: people may edit those.
    """
    belong = info.files if info.files is not None else (SBOM,) if info.format > 1 else ()
    if missing := [name for name in belong if name not in files]:
        raise BundleError(
            f"{folder} has no {shortlist([ascii(name)[1:-1][:40] for name in missing])}, so it is not whole: "
            "its bundle.json lists what belongs to it. That was removed, or lost on the way. Copy the bundle again, "
            "whole, from where it was made, or train or export it again."
        )
    file = folder / "model.safetensors"
    try:
        if file.name in files:
            check_tensors(files[file.name])
        file = folder / SBOM
        changed = changed_since(files) if SBOM in files else []
    except ValueError as error:
        raise damaged(file, error) from error
    if network := [name for name in changed if name in NETWORK]:
        raise BundleError(
            f"{folder / network[0]} is not the file that {SBOM} lists: it was changed, or damaged on its way. Copy the "
            "bundle again from where it was made, or train or export it again."
        )
    return tuple(changed)


def _verified(path: Path, key: str | Path) -> tuple[Path, dict[str, bytes], str]:
    from keensight.bundle.keys import fingerprint, load_public  # importing cryptography takes longer than the rest
    from keensight.bundle.verify import verify_files

    public = load_public(key)
    folder = _folder_of(path, is_signed=True)
    try:
        files = read_folder(folder)
    except BundleError as error:
        raise GateError(f"The signature cannot be valid, because {error}") from error
    verify_files(folder, files, public)
    return folder, files, fingerprint(public)


def _folder_of(folder: Path, is_signed: bool) -> Path:
    """Return the bundle's folder, which may be in a run folder. A signed one is found without its bundle.json, too."""
    if home := bundle_in(folder, SIGNATURE) if is_signed else bundle_in(folder):
        return home
    if is_run(folder):
        raise BundleError(
            f"{folder} is a run that is not finished, so it has no bundle yet. Go on with "
            f"`keensight train DATA --out {folder} --resume`."
        )
    what = "is not a bundle: it has no bundle.json" if folder.exists() else "does not exist"
    raise BundleError(
        f"{folder} {what}. Give the folder that `keensight train` calls its bundle, such as runs/digits/bundle, or "
        "the run folder around it."
    )


def _described(folder: Path, files: Mapping[str, bytes]) -> Bundle:
    """Return the content of a bundle's bundle.json."""
    try:
        found = strict_json(files["bundle.json"])
        if found["format"] not in FORMATS:
            raise BundleError(
                f"{folder} is a bundle of format {ascii(found['format'])[:20]}; this keensight reads formats "
                f"{' and '.join(map(str, FORMATS))}. Use the keensight that wrote it, or a newer one."
            )
        return Bundle(folder, BundleInfo.from_json(found))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(folder / "bundle.json", error) from error


def damaged(file: Path, error: Exception) -> BundleError:
    """Return the error for an invalid file of a bundle."""
    detail = f"has no key {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
    return BundleError(f"{file} {detail}, so it is not a bundle that can be trusted. Train or export it again.")
