"""ONNX Runtime as an engine: it is part of the base install, and runs on every processor.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from keensight.values import FloatArray, Uint8Array


class OnnxRuntime:
    """A session of ONNX Runtime on the processor, which logs nothing. See `Engine`."""

    name = "onnxruntime"

    def __init__(self, onnx: bytes, threads: int, spins: bool) -> None:
        """Load a model. If that fails, it raises one of ONNX Runtime's dozen exception classes."""
        onnxruntime = _library()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")  # these are given back
        if not spins:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.threads = threads
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._outputs = [each.name for each in self._session.get_outputs() if each.name in ("probabilities", "oddness")]

    def run(self, images_NHWC: Uint8Array, also: Sequence[str] = ()) -> dict[str, FloatArray]:
        """Return the outputs by their names. See `Engine.run`."""
        outputs = [*self._outputs, *also]
        answers = self._session.run(outputs, {"images": np.ascontiguousarray(images_NHWC)})
        return dict(zip(outputs, map(np.asarray, answers), strict=True))


@functools.cache
def _library() -> Any:
    """Return ONNX Runtime, with one pool of memory for all sessions.

    With a pool each, three models of 224x224 pictures, on one core and on two, kept 860 MB; now they keep 340, and take
    the same time (benchmarks/LOG.md).
    """
    import onnxruntime  # here: what is refused before anything is predicted need not wait for it

    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_usual = {
        "max_mem": 0,
        "arena_extend_strategy": 0,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(as_usual))
    return onnxruntime
