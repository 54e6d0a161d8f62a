"""Scenes are read in strips to the pixels that Pillow gives for the whole picture."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from keensight.data.scenes import bands, open_scene, shrunk
from keensight.errors import PictureError


@pytest.fixture
def pixels():
    y, x = np.mgrid[:700, :301]
    return np.stack([y % 256, x % 256, (x * y // 64) % 256], axis=2).astype(np.uint8)


def whole(scene):
    return np.concatenate(list(scene.strips()))


def tiled_tiff(pixels, side, order="<", packed=False):
    """Write the tags by hand, as Pillow does not write tiles."""
    height, width, channels = pixels.shape
    down, across = -(-height // side), -(-width // side)
    padded = np.pad(pixels, ((0, down * side - height), (0, across * side - width), (0, 0)))
    tiles = [
        padded[i * side : (i + 1) * side, j * side : (j + 1) * side].tobytes()
        for i in range(down)
        for j in range(across)
    ]
    tiles = [zlib.compress(tile) for tile in tiles] if packed else tiles
    body, offsets = b"", []
    for tile in tiles:
        offsets.append(8 + len(body))
        body += tile
    shorts, arrays = f"{order}{channels}H", f"{order}{len(tiles)}I"
    at = 8 + len(body)
    depths = struct.pack(shorts, *[8] * channels)
    lists = struct.pack(arrays, *offsets) + struct.pack(arrays, *map(len, tiles))
    directory = at + len(depths) + len(lists)
    lists_at = at + len(depths)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, at), (259, 3, 1, 8 if packed else 1),
            (262, 3, 1, 2), (277, 3, 1, channels), (322, 4, 1, side), (323, 4, 1, side),
            (324, 4, len(tiles), lists_at), (325, 4, len(tiles), lists_at + 4 * len(tiles))]  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, directory)
    return head + body + depths + lists + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_in_strips(tmp_path, pixels, compression, monkeypatch):
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 301 * 3 * 32)
    file = tmp_path / "s.tif"
    Image.fromarray(pixels).save(file, compression=compression)
    scene = open_scene(file, 3)
    assert scene.is_flat and (scene.height, scene.width) == (700, 301)
    assert len(list(scene.strips())) > 1
    assert np.array_equal(whole(scene), np.asarray(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tiff_in_tiles(tmp_path, pixels, order, packed):
    file = tmp_path / "s.tif"
    file.write_bytes(tiled_tiff(pixels, 128, order, packed))
    assert np.array_equal(np.asarray(Image.open(file)), pixels), "it is a TIFF for Pillow, too"
    scene = open_scene(file, 3)
    assert scene.is_flat and np.array_equal(whole(scene), pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(whole(open_scene(file, 1))[..., 0], grey)


def test_a_big_tiff(tmp_path, pixels):
    file = tmp_path / "s.tif"
    Image.fromarray(pixels).save(file, big_tiff=True)
    assert file.read_bytes()[2] == 43
    scene = open_scene(file, 3)
    assert scene.is_flat and np.array_equal(whole(scene), pixels)


@pytest.mark.parametrize("name", ["s.bmp", "s.ppm", "s.pgm", "s.npy", "s.png"])
def test_other_formats(tmp_path, pixels, name):
    file = tmp_path / name
    expected = pixels[..., :1] if name == "s.pgm" else pixels
    if name == "s.npy":
        np.save(file, pixels)
    else:
        Image.fromarray(expected.squeeze()).save(file)
    scene = open_scene(file, 1 if name == "s.pgm" else 3)
    assert scene.is_flat == (name != "s.png")
    assert np.array_equal(whole(scene), expected)


def test_what_cannot_be_read_by_rows_is_decoded_whole(tmp_path, pixels):
    deep = tmp_path / "deep.tif"
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(deep)
    scene = open_scene(deep, 1)
    assert not scene.is_flat and np.array_equal(whole(scene)[..., 0], pixels[..., 0])


def test_memory_stays_flat(tmp_path):
    """A picture that is twice as high takes no more."""

    def peak(height):
        file = tmp_path / f"{height}.tif"
        file.write_bytes(tiled_tiff(np.zeros((height, 500, 3), np.uint8), 256, packed=True))
        tracemalloc.start()
        scene = open_scene(file, 3)
        assert sum(len(strip) for strip in scene.strips()) == height
        assert sum(len(rows) for _, rows in bands(shrunk(scene, 4), 100, 20)) >= height // 4
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(8000) < 1.05 * peak(4000)


def mapped_bytes():
    """How much of files that are mapped is in memory, and counts as this process's."""
    return 1024 * int(Path("/proc/self/status").read_text().split("RssFile:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is Linux that tells")
@pytest.mark.parametrize("name", ["s.tif", "s.npy", "s.ppm", "s.bmp"])
def test_what_was_read_of_a_file_does_not_stay_in_memory(tmp_path, name):
    file, pixels = tmp_path / name, np.zeros((16_000, 1000, 3), np.uint8)  # of 48 MB
    if name == "s.tif":
        file.write_bytes(tiled_tiff(pixels, 512))
    elif name == "s.npy":
        np.save(file, pixels)
    else:
        Image.fromarray(pixels).save(file)
    scene, before = open_scene(file, 3), mapped_bytes()
    assert scene.is_flat
    assert max((int(strip.max()), mapped_bytes() - before)[1] for strip in scene.strips()) < 16_000_000


def test_refusals(tmp_path, pixels):
    file = tmp_path / "s.tif"
    good = tiled_tiff(pixels, 128)
    for cut in (9, 100, len(good) - 30):
        file.write_bytes(good[:cut])
        with pytest.raises(PictureError):
            whole(open_scene(file, 3))
    file.write_bytes(good.replace(struct.pack("<HHII", 257, 4, 1, 700), struct.pack("<HHII", 257, 4, 1, 2**31)))
    with pytest.raises(PictureError, match="does not place all|cut into"):
        open_scene(file, 3)
    Image.new("1", (10_000, 9000)).save(file := tmp_path / "s.png")
    with pytest.raises(PictureError, match="tiled TIFF"):
        open_scene(file, 3)
    np.save(tmp_path / "s.npy", pixels.astype(float))
    with pytest.raises(PictureError, match="uint8"):
        open_scene(tmp_path / "s.npy", 3)
    with pytest.raises(PictureError, match="no such file"):
        open_scene(tmp_path / "none.tif", 3)


def test_bands_are_the_picture_with_overlaps(tmp_path, pixels):
    Image.fromarray(pixels).save(file := tmp_path / "s.ppm")
    found = list(bands(open_scene(file, 3), 150, 30))
    assert [top for top, _ in found] == [0, 120, 240, 360, 480, 600]
    for top, rows in found:
        assert np.array_equal(rows, pixels[top : top + 150])


@pytest.mark.parametrize("factor", [0.5, 1.3, 2, 7.7])
def test_shrunk_as_the_whole_would_be(tmp_path, factor):
    rng = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (90, 40, 3), np.uint8)).resize((200, 900)))
    Image.fromarray(pixels).save(file := tmp_path / "s.ppm")
    scene = shrunk(open_scene(file, 3), factor)
    size = (int(200 / factor), int(900 / factor))
    box = (0, 0, size[0] * factor, size[1] * factor)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box)).astype(int)
    found = whole(scene)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
