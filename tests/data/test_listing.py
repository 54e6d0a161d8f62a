from pathlib import PurePosixPath

import pytest

from keensight.data.listing import PICTURE_SUFFIXES, describe, hidden_part, is_picture, problem_by_start


def test_describe_counts_suffixes():
    assert describe(["a.zip", "b.ZIP", "c", "d/"]) == "2 .zip, 1 without a suffix"


@pytest.mark.parametrize("name", ["a.jpg", "b/a.JPG", "b.jpg/a", ".jpg", "b/.jpg", "..jpg", "b/..Png", "a.", "jpg", ""])
def test_a_picture_is_told_by_what_pathlib_calls_its_suffix(name):
    assert is_picture(name) == (PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES)


def test_first_bytes_are_asked_only_where_the_suffix_tells_nothing():
    assert problem_by_start("a.csv", lambda: pytest.fail("opened")) == "a .csv file and not a picture"
    assert problem_by_start("a.CR2", lambda: pytest.fail("opened")).startswith(
        "a picture in CR2 format, which is not read; convert"
    )
    assert problem_by_start("a.old", lambda: b"GIF89a") is None
    assert problem_by_start("a.old", lambda: b"\x9c\0\1") == "not a picture that can be read"


def test_the_uppermost_hidden_part_is_named():
    assert [hidden_part(path) for path in ("a/.b/.c/d.jpg", "@EADIR/x.jpg", "a/b.jpg", "a/x@eaDir/b.jpg")] == [
        "a/.b", "@EADIR", None, None
    ]  # fmt: skip
