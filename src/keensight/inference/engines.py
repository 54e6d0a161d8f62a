"""What runs a bundle's network: a row for each library, and one protocol for all of them.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from keensight.inference.onnx_runtime import OnnxRuntime
from keensight.values import FloatArray, Uint8Array


class Engine(Protocol):
    """A network that is loaded. Several threads may ask it at once."""

    @property
    def name(self) -> str:
        """Its row in `ENGINES`."""

    @property
    def threads(self) -> int:
        """How many threads work on one batch."""

    def run(self, images_NHWC: Uint8Array) -> Mapping[str, FloatArray]:
        """Return the outputs by name for uint8 NHWC: `probabilities` float32 NK, and where it has it, `oddness` N."""


# Opens the bytes of a model that was checked: with so many threads, which wait for each other awake (True, faster for
# a single caller) or asleep (False). It may raise whatever the library raises.
Opener: TypeAlias = Callable[[bytes, int, bool], Engine]

ENGINES: dict[str, Opener] = {
    "onnxruntime": OnnxRuntime,
}
DEFAULT = "onnxruntime"
