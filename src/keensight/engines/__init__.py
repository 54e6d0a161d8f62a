"""The libraries that run a network in ONNX, each behind one protocol; no torch."""
