"""Engines run a bundle's network: a row for each library, and one protocol for all of them.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from keensight.inference.onnx_runtime import OnnxRuntime
from keensight.values import FloatArray, Uint8Array


class Engine(Protocol):
    """A loaded network. Several threads may use it at once."""

    @property
    def name(self) -> str:
        """Its row in `ENGINES`."""

    @property
    def threads(self) -> int:
        """The number of threads that work on one batch."""

    def run(self, images_NHWC: Uint8Array, also: Sequence[str] = ()) -> Mapping[str, FloatArray]:
        """Return the outputs by name for uint8 NHWC: `probabilities` float32 NK and, if it has one, `oddness` N.

        `also` names further outputs of the model that are wanted.
        """


# (checked bytes of a model, number of threads, whether waiting threads spin) to a loaded engine. Spinning is faster for
# a single caller. It may raise whatever the library raises.
Opener: TypeAlias = Callable[[bytes, int, bool], Engine]

ENGINES: dict[str, Opener] = {
    "onnxruntime": OnnxRuntime,
}
DEFAULT = "onnxruntime"
