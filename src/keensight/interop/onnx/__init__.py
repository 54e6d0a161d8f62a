"""Tools of others for ONNX models."""
