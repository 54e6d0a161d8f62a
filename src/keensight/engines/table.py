"""Engines run a bundle's network: a row for each library, and one protocol for all of them.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Protocol, TypeAlias

from keensight.engines.onnx_runtime import OnnxRuntime
from keensight.engines.openvino import OpenVino
from keensight.machine import bfloat16_instructions
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
    "openvino": OpenVino,
    "openvino-bfloat16": partial(OpenVino, precision="bfloat16"),
}
DEFAULT = "onnxruntime"  # in float32: what trained models are compared with, and measured by
BFLOAT16 = "openvino-bfloat16"


def missing(engine: str) -> str:
    """Say what an engine lacks on this machine, and how to get it; "" if it can be used."""
    if engine == DEFAULT:
        return ""
    if find_spec("openvino") is None:
        return 'OpenVINO is not installed: pip install "keensight[openvino]"'
    if engine == BFLOAT16 and not bfloat16_instructions():
        return "this processor has no instructions for bfloat16 (amx_bf16, avx512_bf16)"
    return ""
