"""The studio's server without a browser: who may ask, what lands in the folder, and what is taken back."""

import errno
import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from keensight.serving.studio.app import create_studio
from keensight.serving.studio.jobs import Job, hear
from keensight.serving.studio.project import open_project
from keensight.serving.studio.state import Doing, Studio
from keensight.verbs.clean import clean

TOKEN, HOST = "secret-token", "127.0.0.1:8765"


def encoded(seed=0, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def studio(tmp_path):
    return Studio(open_project(tmp_path / "mine"), Doing(clean, lambda *_: None, [], lambda *_: None, lambda *_: None))


@pytest.fixture
def client(studio):
    app = create_studio(studio, TOKEN, frozenset({HOST}))
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=True) as client:
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        yield client


def post(client, path, query=None, status=200, **asked):
    answer = client.post(f"/api/{path}", params=query, **asked)
    assert answer.status_code == status, answer.text
    return answer.json()


def filled(client):
    for name in ("cup", "glass"):
        post(client, "classes", json={"name": name})
        paths = [
            post(client, "pictures", {"class": name, "file": f"{i}.png"}, content=encoded(i + 10 * len(name)))["path"]
            for i in range(3)
        ]
        post(client, "added", json={"paths": paths})


def counts(client):
    return {each["name"]: each["count"] for each in client.get("/api/state").json()["classes"]}


# --- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, "wrong"),
        ({"Host": "evil.example"}, TOKEN),
        ({"Host": "evil.example:8765"}, TOKEN),
        ({"Origin": "http://evil.example"}, TOKEN),
        ({"Origin": "null"}, TOKEN),
    ],
)
def test_others_get_nothing(studio, headers, token):
    with TestClient(create_studio(studio, TOKEN, frozenset({HOST})), base_url=f"http://{HOST}") as client:
        answer = client.get("/", params={"token": token}, headers=headers, follow_redirects=False)
        assert answer.status_code == 403 and "set-cookie" not in answer.headers
        assert client.get("/api/state").status_code == 403
        page = client.get("/", headers={"Accept": "text/html,*/*"})  # as a browser asks for an old address
        assert page.status_code == 403 and page.headers["content-type"].startswith("text/html")
        assert "Open the studio by the whole address" in page.text


def test_pages_of_other_sites_can_do_nothing(client, studio):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        post(client, "classes", json={"name": "cup"}, headers=headers, status=403)
    assert studio.project.classes() == {}
    answer = client.get("/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..", "../out", "a/b", "a\\b", ".hidden", "", " ", "a\0b", "x" * 81, "a\nb"])
def test_no_name_leads_out_of_the_folder(client, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    post(client, "classes", json={"name": name}, status=400)
    post(client, "pictures", {"class": name, "file": "a.png"}, content=encoded(), status=400)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_picture_outside_is_shown_or_moved(client, tmp_path, studio):
    filled(client)
    (tmp_path / "private.png").write_bytes(encoded())
    (studio.project.pictures / "cup" / "link.png").symlink_to(tmp_path / "private.png")
    for path in ("..%2F..%2Fprivate.png", "cup%2F..%2F..%2F..%2Fprivate.png", "cup/link.png", "cup/none.png"):
        assert client.get(f"/api/picture/{path}").status_code in (400, 404)
    post(client, "decide", json={"action": "drop", "files": ["cup/../../private.png"]}, status=404)
    assert (tmp_path / "private.png").exists()


# --- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_land_in_ordinary_folders(client, studio):
    filled(client)
    assert counts(client) == {"cup": 3, "glass": 3}
    assert (studio.project.pictures / "cup" / "0.png").read_bytes() == encoded(30)
    again = post(client, "pictures", {"class": "cup", "file": "0.png"}, content=encoded(7))["path"]
    assert again != "cup/0.png" and (studio.project.pictures / "cup" / "0.png").read_bytes() == encoded(30)
    odd = post(client, "pictures", {"class": "cup", "file": "../..\\x<y>.png"}, content=encoded(8))["path"]
    assert odd == "cup/x_y_.png"
    assert client.get("/api/small/cup/0.png").headers["content-type"] == "image/jpeg"
    assert client.get("/api/picture/cup/0.png").content == encoded(30)
    assert client.get("/api/pictures", params={"class": "glass"}).json() == {"files": ["0.png", "1.png", "2.png"]}


def test_what_is_refused_says_why(client, studio):
    post(client, "classes", json={"name": "cup"})
    cut = encoded(kind="JPEG")[:-40]
    for content, why in (
        (b"hello", "not a picture"), (b"", "empty"), (b"%PDF-1.4 " + bytes(50), "PDF"), (cut, "cut short"),
    ):  # fmt: skip
        error = post(client, "pictures", {"class": "cup", "file": "a.png"}, content=content, status=400)["error"]
        assert why in error["message"]
    assert "already" in post(client, "classes", json={"name": "CUP"}, status=409)["error"]["message"]
    assert list((studio.project.pictures / "cup").iterdir()) == []


def test_a_full_disk_says_so_and_leaves_nothing(client, studio, monkeypatch):
    post(client, "classes", json={"name": "cup"})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("keensight.files.os.fsync", full)
    told = post(client, "pictures", {"class": "cup", "file": "a.png"}, content=encoded(), status=409)
    assert "The disk is full" in told["error"]["message"]
    assert list((studio.project.pictures / "cup").iterdir()) == []


def test_a_disk_that_fills_up_while_an_archive_is_added_keeps_what_fitted(client, studio, monkeypatch):
    file, synced, room = io.BytesIO(), os.fsync, iter(range(2))
    with zipfile.ZipFile(file, "w") as packed:
        for i in range(4):
            packed.writestr(f"pets/{'cat' if i % 2 else 'dog'}/{i}.png", encoded(i))

    def sync(number):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(number)

    monkeypatch.setattr("keensight.files.os.fsync", sync)
    told = post(client, "archive", {"file": "pets.zip"}, content=file.getvalue())
    assert told["added"] == 2 == len(list(studio.project.pictures.rglob("*.png")))
    assert len(told["refused"]) == 2 and all("The disk is full" in why for _, why in told["refused"])
    post(client, "undo", json={})
    assert list(studio.project.pictures.rglob("*.png")) == []


def test_what_was_decided_about_a_finding_is_open_again_after_undo(client, studio):
    filled(client)
    alike = {"kind": "outlier", "evidence": {}, "sentence": "", "samples": ["cup/0.png", "cup/1.png", "glass/0.png"]}
    studio.findings = [alike | {"number": 0}, alike | {"number": 1}]

    def decided():
        return [each["decided"] for each in client.get("/api/state").json()["findings"]]

    post(client, "decide", json={"action": "drop", "files": ["cup/0.png"], "finding": 0})
    post(client, "decide", json={"action": "keep", "files": ["cup/1.png"], "finding": 0})
    post(client, "decide", json={"action": "relabel", "files": ["glass/0.png"], "label": "cup"})  # in the grid
    gone = {"cup/0.png": "removed", "glass/0.png": "moved to cup"}
    assert decided() == [gone | {"cup/1.png": "kept"}, gone]
    for _ in range(3):
        post(client, "undo", json={})
    assert decided() == [{}, {}] and counts(client) == {"cup": 3, "glass": 3}


def test_an_archive_becomes_classes(client):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for i in range(4):
            packed.writestr(f"pets/{'cat' if i % 2 else 'dog'}/{i}.png", encoded(i))
        packed.writestr("pets/cat/notes.pdf", b"%PDF-1.4")
    found = post(client, "archive", {"file": "pets.zip"}, content=file.getvalue())
    assert found["added"] == 4 and counts(client) == {"cat": 2, "dog": 2}
    assert [name for name, _ in found["refused"]] == ["pets/cat/notes.pdf"]
    post(client, "undo", json={})
    assert counts(client) == {"cat": 0, "dog": 0}
    assert "zip" in post(client, "archive", {"file": "a.zip"}, content=b"PK no", status=400)["error"]["message"]


def test_every_act_can_be_undone(client, studio):
    filled(client)
    before = {each: each.read_bytes() for each in studio.project.pictures.rglob("*.png")}
    post(client, "decide", json={"action": "drop", "files": ["cup/0.png"]})
    post(client, "decide", json={"action": "relabel", "files": ["glass/1.png", "glass/2.png"], "label": "cup"})
    post(client, "decide", json={"action": "drop", "files": ["glass/0.png"]})  # the last one of its class
    post(client, "classes/rename", json={"name": "cup", "new": "mug"})
    assert counts(client) == {"glass": 0, "mug": 4}
    record = studio.project.pictures.with_name("pictures.decisions.jsonl")
    actions = [json.loads(line)["action"] for line in record.read_text().splitlines()]
    assert actions == ["drop", "relabel", "relabel"]
    for _ in range(4):
        post(client, "undo", json={})
    assert {each: each.read_bytes() for each in studio.project.pictures.rglob("*.png")} == before
    for _ in range(2):
        post(client, "undo", json={})
    assert counts(client) == {"cup": 0, "glass": 0}
    assert "nothing to undo" in post(client, "undo", json={}, status=409)["error"]["message"]


def test_only_pictures_that_are_there_were_added(client, studio):
    filled(client)
    for strange in ("cup/0.png", [5], {"a": 1}):
        post(client, "added", json={"paths": strange}, status=400)
    before = len(studio.acts.done)
    post(client, "added", json={"paths": ["../../etc/passwd", "cup/none.png"]})
    assert len(studio.acts.done) == before


def test_training_needs_two_classes(client):
    post(client, "classes", json={"name": "cup"})
    assert "two classes" in post(client, "train", json={"budget": "1m"}, status=409)["error"]["message"]
    post(client, "train", json={"budget": "9y"}, status=400)
    post(client, "classes", json={"name": "mug"})
    for name in ("cup", "mug"):
        post(client, "pictures", {"class": name, "file": "a.png"}, content=encoded())
    told = post(client, "train", json={"resume": True}, status=409)["error"]["message"]
    assert "no training to go on with" in told


def test_a_name_of_too_many_bytes_is_no_matter_of_the_disk(client):
    assert "too long" in post(client, "classes", json={"name": "\N{DOG}" * 80}, status=400)["error"]["message"]


def test_a_folder_of_classes_is_taken_as_it_is(tmp_path, draw):
    data = draw(tmp_path / "pets", ["cat", "dog"], 2, 0)
    project = open_project(data)
    assert project.pictures == data and project.classes() == {"cat": 2, "dog": 2}
    assert open_project(tmp_path / "new").pictures == tmp_path / "new" / "pictures"


def test_a_job_hears_its_process():
    job = Job("train", {})
    hear(job, {"event": "stage", "name": "learning", "done": 3, "total": 10})
    hear(job, {"event": "epoch", "epoch": {"number": 1}, "epochs": 5})
    hear(job, {"event": "done", "result": {"run": "1"}})
    assert (job.stage, job.done, job.total, job.num_epochs, job.status) == ("learning", 3, 10, 5, "done")
    with pytest.raises(KeyError):
        hear(job, {"event": "unknown"})
