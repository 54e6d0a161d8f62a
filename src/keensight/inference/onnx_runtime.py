"""ONNX Runtime as an engine: it is part of the base install, and runs on every processor.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keensight.values import FloatArray, Uint8Array


class OnnxRuntime:
    """A session of ONNX Runtime on the processor, which logs nothing. See `Engine`."""

    name = "onnxruntime"

    def __init__(self, onnx: bytes, threads: int, spins: bool) -> None:
        """Load a model. If that fails, it raises one of ONNX Runtime's dozen exception classes."""
        import onnxruntime  # here: what is refused before anything is predicted need not wait for it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
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
