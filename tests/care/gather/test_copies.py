"""Copies are kept once for a label, and are findings under two."""

import io

import pytest
from PIL import Image

from keensight.care.gather.manifest import read_manifest

SEARCH = "https://api.openverse.org/v1/images/"
pytestmark = pytest.mark.usefixtures("decoded_here")


def lossy(content, **how):
    image = Image.open(io.BytesIO(content))
    if how.get("mirror"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.get("crop"):
        image = image.crop((8, 6, image.width - 8, image.height - 6))
    if how.get("size"):
        image = image.resize(how["size"])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=how.get("quality", 95))
    return file.getvalue()


def test_copies_are_kept_once_and_replaced(pictures, tmp_path):
    """Of 1: the same file, at other sizes, mirrored, cut, saved with loss."""
    one = pictures.picture(1, 320, 240)
    copies = {
        2: one,
        3: lossy(one, size=(200, 150)),
        4: lossy(one, mirror=True),
        5: lossy(one, crop=True),
        6: lossy(one, quality=50),
    }
    pictures.results("cat")
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(
            one if (n := int(asked.path[1:-4])) == 1 else copies.get(n) or pictures.picture(n, 320, 240)
        ),
    )
    done = pictures.gather(["cat"], tmp_path, count=10)
    rows = read_manifest(done.manifest)
    assert done.labels == {"cat": 10} == {"cat": len(rows)}
    kept = {int(row.url.rpartition("/")[2][:-4]) for row in rows}
    assert kept & {1, *copies} == {1}
    assert done.left_out == {"identical to another": 1, "nearly the same as another": 4}
    assert done.findings == ()
    assert len(list((tmp_path / "cat").iterdir())) == 10
    pictures.asked.clear()
    assert pictures.gather(["cat"], tmp_path, count=10).new == 0
    assert pictures.asked == []


def test_copies_under_two_labels_are_findings_and_are_fetched_once(pictures, tmp_path):
    pictures.results("cat", "dog")
    shared, near = pictures.picture(7, 320, 240), lossy(pictures.picture(3, 320, 240), mirror=True)
    bodies = {1003: near, 3: pictures.picture(3, 320, 240), 4: shared, 1004: shared}
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(bodies.get(n := int(asked.path[1:-4])) or pictures.picture(n, 320, 240)),
    )
    done = pictures.gather(["cat", "dog"], tmp_path, count=8)
    assert done.labels == {"cat": 8, "dog": 8}
    number = {row.file: int(row.url.rpartition("/")[2][:-4]) for row in read_manifest(done.manifest)}
    pairs = {finding.evidence["by"]: finding.evidence["pairs"] for finding in done.findings}
    assert {finding.kind for finding in done.findings} == {"label"}
    assert {by: {number[file] for pair in some for file, _ in pair} for by, some in pairs.items()} == {
        "bytes": {4, 1004},
        "likeness": {3, 1003},
    }


def test_one_address_under_two_labels_is_asked_for_once(pictures, tmp_path):
    pictures.on(SEARCH, {"results": [{"url": "https://pictures.example/1.jpg", "license": "by"}], "page_count": 1})
    done = pictures.gather(["cat=animal", "dog=pet"], tmp_path)
    assert done.labels == {"cat": 1, "dog": 1}
    assert pictures.paths("pictures.example") == ["/1.jpg"]
    assert [finding.kind for finding in done.findings] == ["label"]


def test_unlike_pictures_are_not_taken_for_copies(pets, tmp_path):
    done = pets.gather(["cat", "dog"], tmp_path, count=50)
    assert done.labels == {"cat": 50, "dog": 50}
    assert done.left_out == {}
