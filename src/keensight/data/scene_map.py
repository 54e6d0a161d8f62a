"""Where a scene lies on a map, as a GeoTIFF says: the place of each pixel, and the map's number.

OGC GeoTIFF 1.1, https://docs.ogc.org/is/19-008r4/19-008r4.html.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from keensight.data.bare_tiff import TIFF
from keensight.data.scene_tiff import tags_of_tiff

SCALE, TIE, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
RASTER_TYPE, PROJECTED, GEOGRAPHIC = 1025, 3072, 2048
IS_POINT, OWN = 2, 32767  # a place is that of a pixel's middle; a map without a number


@dataclass(frozen=True, slots=True)
class MapPlace:
    """Turns pixels (x to the right, y down, from the top left corner) into map coordinates, of EPSG's number `epsg`."""

    east: tuple[float, float, float]  # of one pixel to the right, of one down, and of the corner
    north: tuple[float, float, float]
    epsg: int | None

    def at(self, x: float, y: float) -> list[float]:
        """Return the map's coordinates of a place in pixels.

        >>> MapPlace((3.0, 0.0, 500_000.0), (0.0, -3.0, 4_200_000.0), 32610).at(10, 20)
        [500030.0, 4199940.0]
        """
        return [right * x + down * y + corner for right, down, corner in (self.east, self.north)]


def map_place(path: Path) -> MapPlace | None:
    """Return where a file lies on a map, or nothing for one that does not say so, or says what cannot be.

    Raises PictureError if damaged.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(TIFF):
            return None
    order, tags = tags_of_tiff(path)

    def numbers(tag: int, kind: str) -> tuple[float, ...]:
        held = tags[tag][1] if tag in tags else b""
        size = struct.calcsize(kind)
        return struct.unpack(f"{order}{len(held) // size}{kind}", held[: len(held) // size * size])

    keys = {int(key): int(value) for key, place, _, value in _fours(numbers(KEYS, "H")[4:]) if place == 0}
    matrix, scale, tie = numbers(TRANSFORMATION, "d"), numbers(SCALE, "d"), numbers(TIE, "d")
    if len(matrix) == 16:
        east, north = (matrix[0], matrix[1], matrix[3]), (matrix[4], matrix[5], matrix[7])
    elif len(scale) >= 2 and len(tie) == 6:
        x, y, _, at_east, at_north, _ = tie
        east = (scale[0], 0.0, at_east - scale[0] * x)
        north = (0.0, -scale[1], at_north + scale[1] * y)
    else:
        return None
    if keys.get(RASTER_TYPE) == IS_POINT:
        east, north = ((right, down, at - (right + down) / 2) for right, down, at in (east, north))
    if not all(map(math.isfinite, (*east, *north))) or east[0] * north[1] == east[1] * north[0]:
        return None  # no map has such pixels
    epsg = next((keys[key] for key in (PROJECTED, GEOGRAPHIC) if keys.get(key, OWN) not in (0, OWN)), None)
    return MapPlace(east, north, epsg)


def _fours(values: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [values[i : i + 4] for i in range(0, len(values) - 3, 4)]
