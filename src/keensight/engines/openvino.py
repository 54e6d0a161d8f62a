"""OpenVINO as an engine: an extra, never needed, and faster in bfloat16 where the processor has instructions for it.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeAlias

import numpy as np

from keensight.machine import cores
from keensight.values import FloatArray, Uint8Array

Precision: TypeAlias = Literal["float32", "bfloat16"]
HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}
# Its converters of other formats take half of its import, and report to Intel that they were loaded.
CONVERTERS = "openvino.tools.ovc"
# The operator that joins features and statistics of pixels, as models/oddness.py calls it. What is done with these is
# ill-conditioned: in bfloat16, the oddness of husky's pictures had a correlation of 0.66 with itself in float32.
STATISTICS, FEATURES = "oddness.statistics", "features"
AGAIN = f"{STATISTICS}.again"


class OpenVino:
    """A network compiled by OpenVINO for the processor. See `Engine`. Its threads always sleep while they wait."""

    def __init__(self, onnx: bytes, threads: int, spins: bool, *, precision: Precision = "float32") -> None:
        """Load a model from these bytes; no file is read. Raises RuntimeError if that fails.

        In bfloat16, what is made of statistics of pixels stays in float32.
        """
        self.name = "openvino" if precision == "float32" else f"openvino-{precision}"
        self.threads = threads
        self._precision: Precision = precision
        self._settings = {
            "NUM_STREAMS": max(1, cores() // threads),  # batches that are computed side by side
            "INFERENCE_NUM_THREADS": max(cores(), threads),
            "ENABLE_CPU_PINNING": False,  # other programs use these cores, too
        }
        self._model = _library()[1].read_model(onnx)
        names = [output.any_name for output in self._model.outputs]
        self._outputs = tuple(name for name in names if name in ("probabilities", "oddness"))
        self._stages: dict[tuple[str, ...], list[_Stage]] = {}
        self._for(self._outputs)

    def run(self, images_NHWC: Uint8Array, also: Sequence[str] = ()) -> dict[str, FloatArray]:
        """Return the outputs by their names. See `Engine.run`."""
        outputs = (*self._outputs, *also)
        values: dict[str, Any] = {"images": np.ascontiguousarray(images_NHWC)}
        for stage in self._for(outputs):
            values |= stage.run(values)
        return {name: values[name] for name in outputs}

    def _for(self, outputs: tuple[str, ...]) -> list[_Stage]:
        """Return the network compiled for these outputs alone: others would be computed each time, asked for or not."""
        if outputs not in self._stages:
            self._stages[outputs] = list(self._compiled(outputs))
        return self._stages[outputs]

    def _compiled(self, outputs: tuple[str, ...]) -> Iterator[_Stage]:
        model = self._model.clone()
        made = {name: model.output(name) for name in outputs}
        if self._precision == "float32" or "oddness" not in made or not (cuts := _cuts(model)):
            yield self._stage(model.get_parameters(), made, self._precision)
            return
        del made["oddness"]
        yield self._stage(model.get_parameters(), made | cuts, self._precision)
        rest = self._model.clone()
        given = [_given(name, cut) for name, cut in _cuts(rest).items()]
        yield self._stage([*rest.get_parameters(), *given], {"oddness": rest.output("oddness")}, "float32")

    def _stage(self, parameters: list[Any], made: Mapping[str, Any], precision: Precision) -> _Stage:
        openvino, core = _library()
        model = openvino.Model(list(made.values()), parameters)
        hints = {"INFERENCE_PRECISION_HINT": HINTS[precision]}  # by default it would be bfloat16, if there is any
        names = [parameter.output(0).any_name for parameter in parameters]
        return _Stage(core.compile_model(model, "CPU", self._settings | hints), names, list(made))


class _Stage:
    """A compiled part of a network, and the requests that its callers use, one each at a time."""

    def __init__(self, compiled: Any, reads: Sequence[str], makes: Sequence[str]) -> None:
        self._compiled, self._reads, self._makes = compiled, reads, makes
        self._free: SimpleQueue[Any] = SimpleQueue()

    def run(self, values: Mapping[str, Any]) -> dict[str, FloatArray]:
        """Return copies of what it makes, by name; the request's own arrays are overwritten by its next answer."""
        try:
            request = self._free.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer([values[name] for name in self._reads], share_inputs=True)
            return {name: np.array(request.get_output_tensor(i).data) for i, name in enumerate(self._makes)}
        finally:
            self._free.put(request)


def _cuts(model: Any) -> dict[str, Any]:
    """Return the outputs where statistics begin, by name; none if the network has no statistics.

    Those of maps begin where they are taken of the network's own, or else at the pictures.
    """
    cuts, ops = {}, model.get_ordered_ops()
    has_own_maps = any(AGAIN in op.get_friendly_name() for op in ops)
    for op in ops:
        name, kind = op.get_friendly_name(), op.get_type_name()
        if f"{STATISTICS}.maps" in name and kind.startswith("Reduce") and not has_own_maps:
            cuts[name] = op.output(0)
        if name.endswith(STATISTICS) and kind == "Concat":
            cuts[FEATURES] = op.input_value(0)
    return cuts if FEATURES in cuts else {}


def _given(name: str, cut: Any) -> Any:
    """Return a new input that takes an output's place."""
    openvino, _ = _library()
    parameter = openvino.opset13.parameter(cut.get_partial_shape(), openvino.Type.f32, name=name)
    parameter.output(0).set_names({name})
    for reader in list(cut.get_target_inputs()):
        reader.replace_source_output(parameter.output(0))
    return parameter


@functools.cache
def _library() -> tuple[Any, Any]:
    """Return OpenVINO's module and its `Core`, loaded without what is not used here, and without its telemetry."""
    if "openvino" not in sys.modules:
        sys.modules[CONVERTERS] = None  # type: ignore[assignment]  # Python's way to say that a module is not there
    try:
        import openvino
    finally:
        if sys.modules.get(CONVERTERS, sys) is None:
            del sys.modules[CONVERTERS]
    return openvino, openvino.Core()
