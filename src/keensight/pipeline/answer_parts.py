"""Answers in parts: a folder, or a place in object storage, of Parquet files that a killed `predict` can go on with.

The sorted list of pictures is cut into units of 256; unit 17 becomes ``part-000017.parquet``, written whole or not at
all. `_manifest.json` says first which list and which bundle the parts belong to, and last how many answers there are.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keensight.bundle.read import Bundle
from keensight.data.stores import Store
from keensight.errors import KeensightError, PictureError, RunError
from keensight.files import encoded, to_json
from keensight.values import Prediction
from keensight.version import __version__

UNIT = 256  # pictures of a part: as many as a row group of shards has
MANIFEST = "_manifest.json"  # tools that read folders of Parquet pass over names that begin so
FORMAT, VERSION = "keensight-answers", 1
PART = re.compile(r"part-(\d{6,12})\.parquet")
MAX_PART_BYTES = 2**31


@dataclass(frozen=True, slots=True)
class Job:
    """Which pictures are answered by which bundle: what all parts of one folder have in common."""

    pictures: int
    pictures_sha256: str  # of their names, in order
    bundle: str
    bundle_sha256: str
    labels: tuple[str, ...]
    engine: str  # of the network: all parts are answered by the same

    @property
    def units(self) -> int:
        """The number of parts."""
        return -(-self.pictures // UNIT)

    def rows(self, unit: int) -> range:
        """Return the pictures of a unit."""
        return range(unit * UNIT, min(self.pictures, (unit + 1) * UNIT))

    @property
    def digest(self) -> str:
        """What a part notes of the job that it belongs to."""
        return hashlib.sha256(
            f"{VERSION} {UNIT} {self.engine} {self.pictures_sha256} {self.bundle_sha256}".encode()
        ).hexdigest()

    def manifest(self, **more: Any) -> bytes:
        """Return the content of the manifest."""
        facts = {"format": FORMAT, "version": VERSION, "keensight": __version__, "unit": UNIT, "parts": self.units}
        return to_json({**facts, **asdict(self), **more}).encode()


def job_of(bundle: Bundle, names: Iterable[str], engine: str) -> Job:
    """Return the job of answering for the pictures of these names, in their order, by this engine."""
    digest, count = hashlib.sha256(), 0
    for name in names:
        digest.update(encoded(name) + b"\0")
        count += 1
    own = hashlib.sha256()
    for name in ("bundle.json", "model.onnx"):
        own.update(hashlib.sha256(bundle.files[name]).digest())
    return Job(count, digest.hexdigest(), bundle.name, own.hexdigest(), bundle.labels, engine)


def name_of(unit: int) -> str:
    """Return the name of a part.

    >>> name_of(17)
    'part-000017.parquet'
    """
    return f"part-{unit:06d}.parquet"


def begun(store: Store, job: Job) -> Job | None:
    """Return the job as it was begun in the store, with its engine; None if it was not. Raises RunError for another."""
    found = store.found()
    if MANIFEST not in found:
        if parts := sorted(name for name in found if PART.fullmatch(name)):
            raise RunError(
                f"{store.place} has {parts[0]} but no {MANIFEST}, so it is not known whose answers these are. Give "
                "another folder."
            )
        return None
    try:
        known = json.loads(store.read(MANIFEST, 2**26))
        same = {key: known[key] for key in ("format", "version", "unit", "pictures_sha256", "bundle_sha256")}
        engine = str(known["engine"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError(f"{store.place}/{MANIFEST} is damaged ({error}). Give another folder.") from error
    if (same["format"], same["version"], same["unit"]) != (FORMAT, VERSION, UNIT):
        raise RunError(f"{store.place} holds answers of another format. Give another folder.")
    for key, what in (("bundle_sha256", "bundle"), ("pictures_sha256", "list of pictures")):
        if same[key] != getattr(job, key):
            raise RunError(
                f"{store.place} holds answers for another {what}, and they must not be mixed. Give another folder, or "
                f"the {what} that it was begun with."
            )
    return replace(job, engine=engine)


def to_part(job: Job, unit: int, answers: Sequence[tuple[Path, Prediction | PictureError]]) -> bytes:
    """Return the Parquet file of a unit's answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def of(name: str) -> list[Any]:
        return [getattr(answer, name) if isinstance(answer, Prediction) else None for _, answer in answers]

    def texts(name: str) -> list[Any]:
        return [None if each is None else list(each) for each in of(name)]

    number = len(job.labels)
    probabilities = [None if each is None else list(each.values()) for each in of("probabilities")]
    errors = [str(answer) if isinstance(answer, PictureError) else None for _, answer in answers]
    columns = {
        "row": pa.array(job.rows(unit), pa.int64()),
        "file": pa.array([encoded(str(file)).decode() for file, _ in answers], pa.string()),
        "label": pa.array(of("label"), pa.string()),
        "probability": pa.array(of("probability"), pa.float64()),
        "probabilities": pa.array(probabilities, pa.list_(pa.float64(), number)),
        "abstained": pa.array(of("abstained"), pa.bool_()),
        "reasons": pa.array(texts("reasons"), pa.list_(pa.string())),
        "notes": pa.array(texts("notes"), pa.list_(pa.string())),
        "label_set": pa.array(texts("label_set"), pa.list_(pa.string())),
        "error": pa.array(errors, pa.string()),
    }
    table = pa.table(columns)
    facts = {"job": job.digest, "unit": str(unit), "labels": json.dumps(job.labels), "sha256": _digest(table)}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(facts), file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _digest(table: Any) -> str:
    """Return a digest of what a part says: Parquet's checksums do not cover all of a file."""
    return hashlib.sha256(json.dumps(table.to_pydict(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there: its pictures, those of them without an answer, and its digest."""

    unit: int
    rows: int
    failed: int
    sha256: str


def read_part(store: Store, job: Job, unit: int) -> Part | None:
    """Return what a part holds; None where it is not one of this job, whole and undamaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = store.read(name_of(unit), MAX_PART_BYTES)
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        facts = file.schema_arrow.metadata or {}
        table = file.read(use_threads=False)
        known = [facts.get(name.encode(), b"").decode() for name in ("job", "unit", "sha256")]
        if known != [job.digest, str(unit), _digest(table)] or len(table) != len(job.rows(unit)):
            return None
        failed = len(table) - table.column("error").null_count
        return Part(unit, len(table), failed, hashlib.sha256(content).hexdigest())
    except (KeensightError, OSError, ValueError, LookupError, pa.ArrowException):
        return None


def close(store: Store, job: Job, parts: Sequence[Part]) -> None:
    """Write the manifest anew, with every part's digest, once each picture has one row. Raises RunError otherwise."""
    found = {name for name in store.found() if PART.fullmatch(name)}
    wanted = {name_of(unit) for unit in range(job.units)}
    rows = sum(part.rows for part in parts)
    if found != wanted or rows != job.pictures or len(parts) != job.units:
        raise RunError(
            f"{store.place} has {rows:,} answers in {len(found):,} parts, and should have {job.pictures:,} in "
            f"{job.units:,}. Was something else written there, or removed? The same command fills holes; remove what "
            "is too much."
        )
    listed = [{"name": name_of(part.unit), "rows": part.rows, "sha256": part.sha256} for part in parts]
    failed = sum(part.failed for part in parts)
    store.write(MANIFEST, job.manifest(complete={"answers": rows - failed, "failed": failed, "files": listed}))
