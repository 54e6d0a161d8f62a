"""Keeping in a real PostgreSQL server, of Debian's package, which is started for this and stopped after."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from keensight.errors import KeensightError
from keensight.serving.keep import Keeper, export_kept

pytestmark = pytest.mark.thorough

pytest.importorskip("psycopg", reason="psycopg is not installed (it is in the dev extra)")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
if not PROGRAMS:
    pytest.skip("PostgreSQL is missing: apt-get install postgresql", allow_module_level=True)


@pytest.fixture(scope="module")
def database():
    """The URL of an empty database, on a socket in a folder of its own: PostgreSQL refuses to run as root."""
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="keensight-pg-", dir="/tmp"))  # sockets have short names
    if user:
        shutil.chown(folder, user)
    bin, data = PROGRAMS[-1].parent, folder / "data"

    def run(*words):
        subprocess.run(words, user=user, cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=60)

    try:
        run(bin / "initdb", "--no-sync", "--auth=trust", "--username=keensight", "--encoding=UTF8", "-D", data)
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        run(bin / "pg_ctl", "start", "--wait", "-D", data, "-l", folder / "log", "-o", options)
        yield f"postgresql+psycopg://keensight@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            run(bin / "pg_ctl", "stop", "--wait", "--mode=immediate", "-D", data)
        shutil.rmtree(folder)


def test_answers_and_verdicts_are_kept_over_a_restart_and_become_a_manifest(database, start, frozen, digit, tmp_path):
    kept = tmp_path / "kept"
    words = (frozen, "--keep", kept, "--keep-db", database)
    server = start(*words)
    (answer,) = server.post("/v1/predict", files={"f": ("naïve 7.png", digit)}).json()["predictions"]
    assert server.post("/v1/verdict", json={"id": answer["id"], "right": False, "label": "6"}).status_code == 204
    server.process.terminate()
    assert server.wait() == 0
    server = start(*words)
    assert server.post("/v1/verdict", json={"id": answer["id"], "right": False, "label": "9"}).status_code == 204
    assert server.post("/v1/verdict", json={"id": "0" * 32, "right": True}).status_code == 404
    assert not (kept / "answers.sqlite").exists()
    assert export_kept(kept, kept / "manifest.csv", database) == (1, 0)
    assert (kept / "manifest.csv").read_text().endswith(".png,9\n")
    assert not server.log("not_kept")


def test_a_database_that_is_not_there(database, tmp_path):
    with pytest.raises(KeensightError, match='cannot be opened .*database "nowhere" does not exist'):
        Keeper(tmp_path, print, database.replace("/postgres?", "/nowhere?"))
