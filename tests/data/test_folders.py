import hashlib
import os
import socket
import stat

import numpy as np
import pytest
from PIL import Image

from keensight.data import folders
from keensight.data.folders import LEADS_OUT, read_file
from keensight.data.listing import KEPT_BY_SYSTEM
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, PictureError
from keensight.values import Sample


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for i, name in enumerate(["cat/1.jpg", "cat/2.PNG", "dog/1.bmp", "dog/more/2.webp"]):
        picture(root / name, i * 10)
    return root


def skipped(dataset):
    return {s.path: s.reason for s in dataset.skipped}


def test_a_flat_folder(pets):
    dataset = open_dataset(pets)
    assert (dataset.name, dataset.root, dataset.kind) == ("pets", pets, "folder")
    assert dataset.class_names == ("cat", "dog")
    assert [(s.path, s.label, s.split) for s in dataset.samples] == [
        ("cat/1.jpg", 0, None),
        ("cat/2.PNG", 0, None),
        ("dog/1.bmp", 1, None),
        ("dog/more/2.webp", 1, None),
    ]
    with reader(dataset) as read:
        for sample in dataset.samples:
            assert read(sample) == (pets / sample.path).read_bytes()
            assert sample.sha256 == hashlib.sha256((pets / sample.path).read_bytes()).hexdigest()


def test_split_folders_map_labels_by_name(tmp_path):
    for name in ["train/b/1.png", "train/a/1.png", "TESTING/a/1.png", "TESTING/b/1.png"]:
        picture(tmp_path / name)
    dataset = open_dataset(tmp_path)
    found = {s.path: (s.split, dataset.class_names[s.label]) for s in dataset.samples}
    assert found == {
        "train/a/1.png": ("train", "a"),
        "train/b/1.png": ("train", "b"),
        "TESTING/a/1.png": ("test", "a"),
        "TESTING/b/1.png": ("test", "b"),
    }


def test_what_systems_leave_behind_is_not_looked_into_and_accounted_for(pets):
    kept = [".DS_Store", "cat/Thumbs.db", "cat/.hidden.jpg", "__MACOSX", ".git", "cat/@eaDir", "#recycle",
            "$RECYCLE.BIN", "@Recycle", ".Trash-1000", "lost+found", "dog/.thumbnails"]  # fmt: skip
    for name in kept:
        path = pets / name if name.endswith(("Store", ".db", ".jpg")) else pets / name / "x/1.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((pets / "cat/1.jpg").read_bytes())
    dataset = open_dataset(pets)
    assert (len(dataset.samples), dataset.class_names) == (4, ("cat", "dog"))
    assert skipped(dataset) == dict.fromkeys(kept, KEPT_BY_SYSTEM)


def test_pictures_under_any_name_are_taken_and_all_else_is_named(pets):
    jpeg = (pets / "cat/1.jpg").read_bytes()
    taken = ["photo", "x.jpe", "x.jpg_large", "x.jpg.1", "x.mpo", "x.pnm", "x.tga", "x.JPG ", "x.heic", "1.0"]
    for name in taken:
        (pets / "cat" / name).write_bytes(jpeg)
    others = {
        "a.txt": (b"x", "a .txt file and not a picture"),
        "b": (b"notes", "text and not a picture"),
        "c.jpg_": (b"<!DOCTYPE html><p>", "an HTML page, as a failed download leaves, and not a picture"),
        "e.NEF": (b"II*\0", "a picture in NEF format, which is not read; convert it to JPEG or PNG"),
        "f.mov": (b"\0\0\0\x14ftypqt  ", "a video and not a picture"),
        "g.tga": (
            b"\0\0\2" + bytes(9) + b"\4\0\4\0\x18\0",
            "a picture in TGA format, which is not read; convert it to JPEG or PNG",
        ),
        "h.bin": (b"", "an empty file (0 bytes)"),
    }
    for name, (content, _) in others.items():
        (pets / "cat" / name).write_bytes(content)
    dataset = open_dataset(pets)
    assert {s.path for s in dataset.samples} >= {f"cat/{name}" for name in taken}
    assert len(dataset.samples) == 4 + len(taken)
    reasons = skipped(dataset)
    assert set(reasons) == {f"cat/{name}" for name in others}
    assert all(reasons[f"cat/{name}"].startswith(reason) for name, (_, reason) in others.items())


def test_files_that_cannot_be_used_are_skipped_with_a_reason(pets):
    (pets / "cat/empty.jpg").touch()
    os.mkfifo(pets / "cat/pipe.jpg")
    with open(pets / "dog/huge.jpg", "wb") as file:
        file.truncate(folders.MAX_PICTURE_BYTES + 1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(pets / "dog/socket.jpg"))
    (pets / "dog" / os.fsdecode(b"bad\x81.jpg")).write_bytes(b"x")
    (pets / "dog/bell\x07.jpg").write_bytes(b"x")
    dataset = open_dataset(pets)
    assert len(dataset.samples) == 4
    odd = "a name with control characters, or with bytes that are not UTF-8"
    special = "not a regular file (a pipe, a socket or a device)"
    assert skipped(dataset) == {
        "cat/empty.jpg": "an empty file (0 bytes)",
        "cat/pipe.jpg": special,
        "dog/socket.jpg": special,
        "dog/huge.jpg": "larger than 100 MiB (104,857,601 bytes)",
        "dog/bad\\udc81.jpg": odd,
        "dog/bell\\x07.jpg": odd,
    }


def test_folder_names_in_latin_1_are_read(tmp_path):
    """As old archives, discs and network drives have them; on disk they stay as they are."""
    for label in ("Äpfel", "Gemüse"):
        picture(tmp_path / label / "utf8.jpg")
        folder = tmp_path / os.fsdecode(label.encode("latin-1") + b" 2")
        picture(folder / os.fsdecode("größe.jpg".encode("latin-1")), 7)
        picture(folder / "größe 2.jpg", 8)
    (tmp_path / os.fsdecode("Äpfel".encode("latin-1"))).mkdir()
    picture(tmp_path / os.fsdecode("Äpfel".encode("latin-1")) / "utf8.jpg")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("Gemüse", "Gemüse 2", "Äpfel", "Äpfel 2")
    assert len(dataset.samples) == 6
    with reader(dataset) as read:
        assert all(hashlib.sha256(read(sample)).hexdigest() == sample.sha256 for sample in dataset.samples)
    assert list(skipped(dataset)) == ["\\udcc4pfel/utf8.jpg"]  # there is an Äpfel/utf8.jpg


def test_links_inside_are_followed_and_links_out_are_not(pets, tmp_path):
    outside = tmp_path / "pets-private"  # a name that begins like the root's
    picture(outside / "secret.jpg")
    (pets / "cat/in.jpg").symlink_to(pets / "dog/1.bmp")
    (pets / "cat/out.jpg").symlink_to(outside / "secret.jpg")
    (pets / "cat/relative.jpg").symlink_to("../../pets-private/secret.jpg")
    (pets / "cat/gone.jpg").symlink_to(pets / "nowhere.jpg")
    (pets / "dog/linked").symlink_to(pets / "cat")
    (pets / "owl").symlink_to(outside)
    (pets / "dog/loop").symlink_to(pets)
    (pets / "dog/self").symlink_to("self")
    dataset = open_dataset(pets)
    found = {s.path for s in dataset.samples}
    assert {"cat/in.jpg", "dog/linked/1.jpg"} <= found
    assert not any("secret" in where or "owl" in where or "loop" in where for where in found)
    reasons = skipped(dataset)
    assert reasons["cat/out.jpg"] == reasons["cat/relative.jpg"] == reasons["owl"] == LEADS_OUT
    assert reasons["cat/gone.jpg"] == "a link that leads nowhere"
    assert reasons["dog/loop"] == "a link that leads back to a folder above it"
    assert "dog/self" in reasons


def test_links_in_a_circle_end(pets):
    (pets / "cat/to-dog").symlink_to(pets / "dog")
    (pets / "dog/to-cat").symlink_to(pets / "cat")
    assert {s.path for s in open_dataset(pets).samples} >= {"cat/to-dog/1.bmp", "dog/to-cat/1.jpg"}


def test_the_root_itself_may_be_a_link(pets, tmp_path):
    (tmp_path / "link").symlink_to(pets)
    dataset = open_dataset(tmp_path / "link")
    assert (dataset.name, len(dataset.samples)) == ("link", 4)


def test_a_folder_that_cannot_be_read(pets, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"The folder .*dog cannot be read: permission denied.*change its permissions"):
        open_dataset(pets)


def test_empty_folders_and_folders_of_other_things(tmp_path):
    with pytest.raises(DataError, match="holds no pictures; found instead: nothing"):
        open_dataset(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/pets.csv").touch()
    with pytest.raises(DataError, match=r"found instead: 1 \.csv.*name a manifest or array file itself"):
        open_dataset(tmp_path)


def test_a_class_without_a_usable_picture_is_named(pets):
    (pets / "owl").mkdir()
    (pets / "owl/1.jpg").touch()
    (pets / "cat/empty.jpg").touch()
    with pytest.raises(DataError, match=r"The only picture of class 'owl' .* cannot .*owl/1\.jpg: an empty file"):
        open_dataset(pets)


def test_too_many_files(pets, monkeypatch):
    monkeypatch.setattr(folders, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        open_dataset(pets)


def test_reading_a_file_that_changed_into_something_else(pets):
    dataset = open_dataset(pets)
    with reader(dataset) as read:
        (pets / "cat/1.jpg").unlink()
        with pytest.raises(PictureError, match=r"^cat/1\.jpg: no such file"):
            read(dataset.samples[0])
        os.mkfifo(pets / "cat/1.jpg")  # must not hang
        with pytest.raises(PictureError, match="not a regular file"):
            read(dataset.samples[0])


def test_a_file_that_grew_too_large(pets, monkeypatch):
    monkeypatch.setattr(folders, "MAX_PICTURE_BYTES", 10)
    with pytest.raises(PictureError, match="larger than"):
        read_file(pets, "cat/1.jpg")


def test_a_file_that_grows_while_it_is_read(pets, monkeypatch):
    whole = (pets / "cat/1.jpg").read_bytes()
    before = list((pets / "cat/1.jpg").stat())
    before[stat.ST_SIZE] = 3
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result(before))
    assert read_file(pets, "cat/1.jpg") == whole
    monkeypatch.setattr(folders, "MAX_PICTURE_BYTES", len(whole) - 1)
    with pytest.raises(PictureError, match="larger than"):
        read_file(pets, "cat/1.jpg")


def test_an_unreadable_file_is_skipped(pets, monkeypatch):
    def refuse(root, where):
        if where == "cat/1.jpg":
            raise PictureError("cat/1.jpg: permission denied")
        return read_file(root, where)

    monkeypatch.setattr(folders, "read_file", refuse)
    assert skipped(open_dataset(pets)) == {"cat/1.jpg": "permission denied"}


def test_labels_from_file_names_in_a_folder(tmp_path):
    for name in ["p/cat__1.png", "q/dog__2.png", "q/odd.png"]:
        picture(tmp_path / name)
    dataset = open_dataset(tmp_path, label_pattern="{label}__{group}")
    assert [(s.path, s.label, s.group) for s in dataset.samples] == [
        ("p/cat__1.png", 0, "1"),
        ("q/dog__2.png", 1, "2"),
    ]
    assert isinstance(dataset.samples[0], Sample)
    assert set(skipped(dataset)) == {"q/odd.png"}
