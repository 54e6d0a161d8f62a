"""Pictures without regard to labels: any form of DATA, or single files, as what is to be answered for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image

from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.data.given import pixels_in_hand
from keensight.errors import PictureError
from keensight.values import Uint8Array

Given: TypeAlias = str | Path | Image.Image | Uint8Array
FOLDER = "it is a folder, and one picture is accepted here; keensight.predict answers for all pictures of a folder"
IN_HAND = Path()  # what a picture without a file is called


class Picture(NamedTuple):
    """A picture by the path that it is called by, and what reads it: encoded, or as uint8 HWC. Raises PictureError."""

    path: Path
    read: Callable[[], bytes | Uint8Array]


def given_picture(given: Given) -> Picture:
    """Return what reads a picture: a path, a PIL image, or an array, uint8 HW or HWC with 1, 3 or 4 channels.

    Reading raises PictureError for what is none of these.
    """
    if isinstance(given, str | Path):
        return Picture(Path(given), partial(read_picture, Path(given)))
    return Picture(IN_HAND, partial(pixels_in_hand, given))


def read_picture(path: Path) -> bytes:
    """Return the content of a file that was given by itself. Raises PictureError with the reason alone."""
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise PictureError(f"it is larger than {MAX_PICTURE_BYTES // 2**20} MiB")
        if not path.is_file():
            raise PictureError(FOLDER if path.is_dir() else "it is not a file")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(os.strerror(error.errno or 0).lower()) from error
    except ValueError as error:  # a zero in its name
        raise PictureError("its name is none that a file can have") from error
