"""Pictures to be answered for: whatever form they come in, each by its name, in natural order."""

import gzip
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from keensight.bundle.read import read_bundle
from keensight.data.listing import KEPT_BY_SYSTEM
from keensight.data.places import pictures_in, places_given
from keensight.data.sources import open_dataset
from keensight.data.unlabelled import given_picture
from keensight.errors import DataError, PictureError, UsageError


def found(*paths):
    """Return what each picture reads as (bytes, an array, or the reason why not), and what else there was."""
    accounts = []
    with ExitStack() as archives:
        pictures = list(pictures_in(paths, archives, lambda name, skipped: accounts.extend(skipped)))
        content = {}
        for picture in pictures:
            try:
                content[picture.path] = picture.read()
            except PictureError as error:
                content[picture.path] = str(error)
    return content, {each.path: each.reason for each in accounts}


@pytest.fixture
def members(png):
    return {f"deep/{i}.png": png(i) for i in (10, 9, 1)} | {
        "photo": png(2),
        "empty.png": b"",
        "a.txt": b"x",
        ".b.png": b"x",
    }


def test_a_folder_and_archives_hold_the_same_in_natural_order(tmp_path, members, make_zip, make_tar):
    folder = tmp_path / "in"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    order = ["deep/1.png", "deep/9.png", "deep/10.png", "empty.png", "photo"]
    for place in (folder, make_zip(tmp_path / "in.zip", members), make_tar(tmp_path / "in.tgz", members, "w:gz")):
        content, rest = found(place)
        assert list(content) == [place / name for name in order]
        assert content.pop(place / "empty.png") == "an empty file (0 bytes)"
        assert content == {place / name: members[name] for name in order if name != "empty.png"}
        assert rest == {"a.txt": "a .txt file and not a picture", ".b.png": KEPT_BY_SYSTEM}


def test_files_are_taken_as_they_are(tmp_path, png):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(png(1))
    content, _ = found(*(tmp_path / name for name in ("notes.txt", "a.png", "empty", "none.png")))
    assert list(content.values()) == [b"x", png(1), "it is a folder without pictures", "no such file or directory"]


def test_manifests_arrays_and_names_are_read_without_their_labels(tmp_path, png, images, labels, write_idx, make_zip):
    for i in (10, 9):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    (tmp_path / "few.csv").write_text("file,label\n10.png,a\n9.png,a\n")
    assert found(tmp_path / "few.csv")[0] == {tmp_path / "9.png": png(9), tmp_path / "10.png": png(10)}
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    content, _ = found(tmp_path / "few.npz")
    assert list(content) == [tmp_path / "few.npz" / f"images[{i}]" for i in range(6)]
    assert all((read[..., 0] == image).all() for read, image in zip(content.values(), images, strict=True))
    content, _ = found(write_idx(tmp_path / "idx"))
    assert len(content) == 12 and next(iter(content)) == tmp_path / "idx" / "test[0]"
    (tmp_path / "few.zip").write_bytes(make_zip(tmp_path / "x.zip", {"a.txt": gzip.compress(b"x")}).read_bytes())
    assert list(found(tmp_path / "few.zip")[0].values()) == ["it holds no pictures"]


def test_a_name_is_a_data_set_unless_such_a_file_is_there(tmp_path, png, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    assert len(found(Path("digits"))[0]) == 1797
    Path("digits").write_bytes(png(3))
    assert found(Path("digits"))[0] == {Path("digits"): png(3)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("new.csv", "file\nb/10.png\nb/9.png\n"),
        ("new.csv", "file,label\nb/10.png,\nb/9.png,cat\n"),
        ("new.jsonl", '{"file": "b/10.png"}\n{"file": "b/9.png"}\n'),
    ],
)
def test_a_manifest_of_what_is_to_be_answered_needs_no_labels(tmp_path, png, name, text):
    (tmp_path / "b").mkdir()
    for i in (9, 10):
        (tmp_path / f"b/{i}.png").write_bytes(png(i))
    (tmp_path / name).write_text(text)
    content, _ = found(tmp_path / name)
    assert list(content.items()) == [(tmp_path / f"b/{i}.png", png(i)) for i in (9, 10)]
    with pytest.raises(DataError, match="label"):
        open_dataset(tmp_path / name)
    (tmp_path / name).write_text(text.replace("file", "path"))
    with pytest.raises(DataError, match="A manifest has the columns file"):
        found(tmp_path / name)


@pytest.mark.parametrize("given", [None, 5, np.zeros((8, 8), np.uint8), [np.zeros((8, 8), np.uint8)]])
def test_what_is_no_path_is_refused_in_words(given):
    with pytest.raises(UsageError, match=r"of the type \w+\. Accepted are paths .*keensight\.Predictor\(bundle\)"):
        places_given(given)


def test_what_is_no_bundle_and_no_data_is_refused_in_words():
    with pytest.raises(UsageError, match=r"The bundle given is of the type NoneType\. Give the path"):
        read_bundle(None)
    with pytest.raises(UsageError, match=r"DATA is of the type NoneType\. Accepted are"):
        open_dataset(None)


def test_a_folder_is_no_picture_but_is_not_called_empty(tmp_path, png):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(png(1))
    with pytest.raises(PictureError, match="it is a folder, and one picture .* keensight.predict answers for all"):
        given_picture(tmp_path).read()


def test_a_class_folder_with_a_blank_name_is_refused(tmp_path, png):
    for label in ("cats", " "):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(png(1))
    with pytest.raises(DataError, match="a class without a name"):
        open_dataset(tmp_path)


def test_a_folder_may_be_named_like_a_picture(tmp_path, png):
    (tmp_path / "cats.jpg").mkdir()
    (tmp_path / "cats.jpg" / "tom.png").write_bytes(png(1))
    content, _ = found(tmp_path / "cats.jpg", tmp_path / "none.jpg")
    assert list(content) == [tmp_path / "cats.jpg" / "tom.png", tmp_path / "none.jpg"]
