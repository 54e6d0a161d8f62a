"""Keeps pictures as files, and answers and people's verdicts on them in a database.

Only with `keensight serve --keep`; otherwise no picture ever touches the disk.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from keensight.errors import DataError, KeensightError, UsageError, shortlist, suggestion
from keensight.files import make_folder, write_atomically
from keensight.serving.limits import RefusalError, check_label
from keensight.serving.registry import Log, Model
from keensight.serving.uploads import Upload, suffix_of

METADATA = MetaData()
ANSWERS = Table(
    "answers",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("model", String, nullable=False),
    Column("version", String(12), nullable=False),
    Column("file", String, nullable=False),  # below the folder
    Column("sent_as", String),
    Column("label", String, nullable=False),
    Column("probability", Float, nullable=False),
    Column("probabilities", JSON, nullable=False),
    Column("abstained", Boolean, nullable=False),
    Column("judged_at", DateTime(timezone=True)),
    Column("is_right", Boolean),
    Column("true_label", String),
)
ID = re.compile("[0-9a-f]{32}")
FOLDER = "pictures"
DATABASE = "answers.sqlite"


class Keeper:
    """Writes in one thread of its own, in order, so that a verdict always finds its answer."""

    def __init__(self, folder: Path, log: Log, url: str | None = None) -> None:
        """Open or make the folder and the database; `url` is SQLAlchemy's, by default an SQLite file in the folder.

        Raises KeensightError if that fails, UsageError for an invalid URL.
        """
        self._folder = make_folder(folder)
        make_folder(folder / FOLDER)
        self._log = log
        self._engine = open_database(folder, url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep")

    async def keep(self, model: Model, pictures: Sequence[Upload], predictions: Sequence[Mapping[str, Any]]) -> None:
        """Keep pictures with their answers. A failed write is only logged: the answers are right all the same."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, model, pictures, predictions)
        except (SQLAlchemyError, KeensightError, OSError) as error:
            self._log("not_kept", level="error", reason=" ".join(str(error).split())[:500])

    async def judge(self, answer_id: str, is_right: bool, label: str | None) -> None:
        """Keep a verdict on an answer: it is right, or another label is, or none is (None).

        The last word counts. Raises RefusalError: 404 for an unknown id, 400 for a label that the model lacks.
        """
        unknown = RefusalError(404, "unknown_id", "There is no answer of that id.")
        if not ID.fullmatch(answer_id):  # some texts make some databases fail
            raise unknown
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._judge, answer_id, is_right, label
            )
        except SQLAlchemyError as error:
            self._log("not_kept", level="error", reason=" ".join(str(error).split())[:500])
            raise RefusalError(503, "not_kept", "The verdict cannot be written now. Try again later.") from error
        if not found:
            raise unknown

    def close(self) -> None:
        """Write what is still queued."""
        self._thread.shutdown()
        self._engine.dispose()

    def _keep(self, model: Model, pictures: Sequence[Upload], predictions: Sequence[Mapping[str, Any]]) -> None:
        rows = []
        for picture, prediction in zip(pictures, predictions, strict=True):
            if "error" in prediction:
                continue
            digest = hashlib.sha256(picture.content).hexdigest()
            name = f"{FOLDER}/{digest[:2]}/{digest}{suffix_of(picture.content)}"
            if not (self._folder / name).exists():
                make_folder((self._folder / name).parent)
                write_atomically(self._folder / name, picture.content)
            columns = ("id", "label", "probability", "probabilities", "abstained")
            rows.append(
                {column: prediction[column] for column in columns}
                | {"at": datetime.now(UTC), "model": model.name, "version": model.version}
                | {"file": name, "sent_as": picture.file}
            )
        if rows:
            with self._engine.begin() as connection:
                connection.execute(insert(ANSWERS), rows)

    def _judge(self, answer_id: str, is_right: bool, label: str | None) -> bool:
        with self._engine.begin() as connection:
            probabilities = connection.execute(
                select(ANSWERS.c.probabilities).where(ANSWERS.c.id == answer_id)
            ).scalar_one_or_none()
            if probabilities is None:
                return False
            if label is not None:
                check_label(label, probabilities, "Send null for something else.")
            connection.execute(
                sql_update(ANSWERS)
                .where(ANSWERS.c.id == answer_id)
                .values(judged_at=datetime.now(UTC), is_right=is_right, true_label=label)
            )
            return True


def open_database(folder: Path, url: str | None) -> Engine:
    """Return the database, with its table. Raises KeensightError or UsageError if it cannot be opened."""
    try:
        engine = create_engine(url or f"sqlite:///{folder / DATABASE}")
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _without_waiting)
        METADATA.create_all(engine)
    except ArgumentError as error:
        raise UsageError(
            "--keep-db was not given a database URL. Give one such as postgresql+psycopg://user@host/database."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise KeensightError(
            f"The database of {folder} cannot be opened ({reason}). Check its URL or its folder."
        ) from error
    return engine


def _without_waiting(connection: Any, _: object) -> None:
    """Let SQLite return before the disk has written: a power cut loses the last answers, but leaves the file whole."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def export_kept(folder: Path, out: Path, url: str | None = None, model: str | None = None) -> tuple[int, int]:
    """Write the judged pictures as a CSV manifest with the columns file and label; return how many it has and lacks.

    The label is the verdict's, or the predicted one where the verdict is that it is right. A picture that was judged
    several times has its last label; one that was judged wrong without a label is left out. `model` chooses one, if
    there are answers of several.

    Raises DataError where the folder has nothing judged; UsageError where `out` is not in a folder above the pictures,
    or `model` must be chosen.
    """
    if not (url or (folder / DATABASE).is_file()):
        raise DataError(f"{folder} was not written by `keensight serve --keep`: it has no {DATABASE}.")
    try:
        below = folder.resolve().relative_to(out.resolve().parent)
    except ValueError:
        raise UsageError(
            f"{out} is not in {folder} or a folder above it, and a manifest names files below itself. Write it to "
            f"{folder / 'manifest.csv'}, for instance."
        ) from None
    engine = open_database(folder, url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(
                select(ANSWERS.c.model, ANSWERS.c.file, ANSWERS.c.is_right, ANSWERS.c.label, ANSWERS.c.true_label)
                .where(ANSWERS.c.is_right.is_not(None))
                .order_by(ANSWERS.c.judged_at)
            ).all()
    finally:
        engine.dispose()
    models = sorted({row.model for row in rows})
    if model is not None and models and model not in models:
        raise UsageError(
            f"{folder} has no judged answer of '{model}'. {suggestion(model, models)}It has {shortlist(models)}."
        )
    if model is None and len(models) > 1:
        raise UsageError(
            f"{folder} has judged answers of {len(models)} models, {shortlist(models)}, whose labels do not belong "
            "together. Choose one with --model."
        )
    labels = {row.file: row.label if row.is_right else row.true_label for row in rows if model in (None, row.model)}
    judged = sorted((file, label) for file, label in labels.items() if label)
    if not judged:
        raise DataError(
            f"{folder} has no picture yet that someone judged with a label. Judge some on the web page, or with "
            "/v1/verdict."
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "label"))
    writer.writerows(((below / file).as_posix(), label) for file, label in judged)
    write_atomically(out, text.getvalue())
    return len(judged), len(labels) - len(judged)
