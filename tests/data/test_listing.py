from pathlib import PurePosixPath

import pytest

from keensight.data.listing import PICTURE_SUFFIXES, describe, is_picture


def test_describe_counts_suffixes():
    assert describe(["a.zip", "b.ZIP", "c", "d/"]) == "2 .zip, 1 without a suffix"


@pytest.mark.parametrize("name", ["a.jpg", "b/a.JPG", "b.jpg/a", ".jpg", "b/.jpg", "..jpg", "b/..Png", "a.", "jpg", ""])
def test_a_picture_is_told_by_what_pathlib_calls_its_suffix(name):
    assert is_picture(name) == (PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES)
