"""Where GeoTIFFs lie: values worked out by hand from the standard's own formulas."""

import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from keensight.data.scene_map import map_place
from keensight.errors import PictureError

UTM = (1, 1, 0, 2, 1025, 0, 1, 1, 3072, 0, 1, 32610)


def geotiff(path, **tags):
    """A file with these tags: lists of doubles, and the keys as shorts."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    numbers = {"scale": 33550, "tie": 33922, "matrix": 34264, "keys": 34735}
    for name, values in tags.items():
        info.tagtype[numbers[name]] = 3 if name == "keys" else 12
        info[numbers[name]] = tuple(values)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, tiffinfo=info)
    return path


def test_a_scale_and_a_tie_point_place_each_pixel(tmp_path):
    place = map_place(geotiff(tmp_path / "a.tif", scale=[3, 2, 0], tie=[10, 20, 0, 500_000, 4_200_000, 0], keys=UTM))
    assert place.at(10, 20) == [500_000, 4_200_000]
    assert place.at(11, 22) == [500_003, 4_199_996]
    assert place.epsg == 32610


def test_a_place_of_a_pixel_s_middle_is_half_a_pixel_from_its_corner(tmp_path):
    keys = (1, 1, 0, 2, 1025, 0, 1, 2, 2048, 0, 1, 4326)
    place = map_place(geotiff(tmp_path / "a.tif", scale=[0.5, 0.5, 0], tie=[0, 0, 0, 7, 50, 0], keys=keys))
    assert place.at(0.5, 0.5) == [7, 50] and place.epsg == 4326


def test_a_transformation_may_turn_the_scene(tmp_path):
    matrix = [0, 2, 0, 100, 2, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 1]
    place = map_place(geotiff(tmp_path / "a.tif", matrix=matrix))
    assert place.at(1, 3) == [106, 202] and place.epsg is None


def test_what_has_no_one_place_has_none(tmp_path):
    assert map_place(geotiff(tmp_path / "plain.tif")) is None
    assert map_place(geotiff(tmp_path / "ties.tif", scale=[1, 1, 0], tie=[0] * 12)) is None
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert map_place(tmp_path / "a.png") is None
    own = (1, 1, 0, 1, 3072, 0, 1, 32767)  # a map that the file describes itself
    assert map_place(geotiff(tmp_path / "own.tif", scale=[1, 1, 0], tie=[0] * 6, keys=own)).epsg is None


@pytest.mark.parametrize("scale", [(0, 1), (1, 0), (np.nan, 1), (np.inf, 1)])
def test_what_no_map_can_have_is_no_place(tmp_path, scale):
    assert map_place(geotiff(tmp_path / "a.tif", scale=[*scale, 0], tie=[0, 0, 0, 1, 2, 0])) is None
    assert map_place(geotiff(tmp_path / "b.tif", matrix=[*scale, 0, 0, *scale, *[0] * 10])) is None


def test_a_damaged_directory_says_so(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 9) + bytes(10))
    with pytest.raises(PictureError, match="damaged or cut short"):
        map_place(tmp_path / "a.tif")
