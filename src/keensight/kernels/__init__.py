"""Our own C code, compiled at installation if there is a C compiler: pooling, dropout, resizing and warping.

Without it, callers use torch or Pillow. Pooling, dropout and resizing then give the same bits, and warped pictures
differ by the rounding of float32. The functions do not check sizes and memory, so each is called in only one place,
which does.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

MEMORY, WHOLE, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
FUNCTIONS: dict[str, list[Any]] = {  # functions in the C files here, and their arguments
    "keensight_pool": [MEMORY] * 3 + [LONG] * 4 + [WHOLE] * 4 + [MEMORY, ctypes.c_int32, ctypes.c_float],
    "keensight_pool_backward": [MEMORY] * 3 + [LONG] * 4 + [WHOLE] * 3 + [ctypes.c_float],
    "keensight_dropout": [MEMORY] * 3 + [LONG, ctypes.c_int32, ctypes.c_float, WHOLE],
    "keensight_affine": [MEMORY] * 3 + [LONG] + [WHOLE] * 4,
    "keensight_resize": [MEMORY, WHOLE, WHOLE, MEMORY, WHOLE, WHOLE, WHOLE],
}


@functools.cache
def library() -> Any:
    """Return the compiled functions, a `ctypes.CDLL`, or None if there are none."""
    for suffix in EXTENSION_SUFFIXES:
        file = Path(__file__).with_name(f"compiled{suffix}")
        if file.exists():
            try:
                compiled = ctypes.CDLL(str(file))
                for name, arguments in FUNCTIONS.items():
                    getattr(compiled, name).argtypes = arguments
            except (OSError, AttributeError):  # for another processor, as in a folder that two machines share; or old
                return None
            return compiled
    return None
