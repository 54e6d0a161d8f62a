from pathlib import PurePosixPath

import pytest

from keensight.data.listing import PICTURE_SUFFIXES, describe, is_picture, picture_files


def test_describe_counts_suffixes():
    assert describe(["a.zip", "b.ZIP", "c", "d/"]) == "2 .zip, 1 without a suffix"


@pytest.mark.parametrize("name", ["a.jpg", "b/a.JPG", "b.jpg/a", ".jpg", "b/.jpg", "..jpg", "b/..Png", "a.", "jpg", ""])
def test_a_picture_is_told_by_what_pathlib_calls_its_suffix(name):
    assert is_picture(name) == (PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES)


def test_folders_stand_for_the_pictures_in_them(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("b.png", "a.JPG", "notes.txt", "deep/er/c.png"):
        (tmp_path / name).touch()
    given = [tmp_path / "notes.txt", tmp_path, tmp_path / "empty", tmp_path / "nowhere.png"]
    found = [str(file.relative_to(tmp_path)) for file in picture_files(given)]
    assert found == ["notes.txt", "a.JPG", "b.png", "deep/er/c.png", "empty", "nowhere.png"]
