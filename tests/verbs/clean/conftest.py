"""A folder of cats and dogs to clean, decisions about it, and processes that are killed while they clean it."""

import json
import os
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest

import keensight

CHANGES = ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "rmdir"))


@pytest.fixture
def pets(draw, tmp_path):
    """train and test with cats and dogs; one file is in both splits, and one name is in both classes."""
    for i, split in enumerate(("train", "test")):
        draw(tmp_path / "home" / "pets" / split, ["cat", "dog"], 4, i)
    folder = tmp_path / "home" / "pets"
    shutil.copy(folder / "test/cat/1-0.png", folder / "train/cat/copy.png")
    (folder / "train/cat/notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def tree():
    def tree(folder):
        """All files below a folder, with their bytes, and all folders."""
        found = {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
        }
        return {name: content for name, content in found.items() if ".keensight.lock" not in name}

    return tree


@pytest.fixture
def decide():
    def decide(folder, rows, name="decisions.jsonl"):
        known = {sample.path: sample.sha256 for sample in keensight.open_dataset(folder).samples}
        file = folder.parent.parent / name
        file.write_text("".join(json.dumps({"sha256": known.get(row["file"], "0" * 64), **row}) + "\n" for row in rows))
        return file

    return decide


@pytest.fixture
def killed_at():
    def killed_at(step, work):
        """Do work in a process that is killed (SIGKILL) before its change number `step` of any file; say if it was."""
        child = os.fork()
        if child == 0:
            steps = count()

            def deadly(real):
                def change(*args, **named):
                    if next(steps) == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*args, **named)

                return change

            for home, name in CHANGES:
                setattr(home, name, deadly(getattr(home, name)))
            try:
                work()
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    return killed_at


@pytest.fixture
def rows():
    """Decisions of every kind."""
    return [
        {"file": "train/cat/copy.png", "action": "drop", "why": "a copy"},
        {"file": "train/cat/0-1.png", "action": "relabel", "label": "dog"},
        {"file": "train/dog/0-2.png", "action": "move", "split": "test"},
        {"file": "test/cat/1-3.png", "action": "relabel", "label": "dog"},
        {"file": "test/cat/1-3.png", "action": "move", "split": "train"},
        {"file": "train/dog/0-3.png", "action": "confirm"},
    ]
