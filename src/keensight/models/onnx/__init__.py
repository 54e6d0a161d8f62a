"""Writes networks as ONNX."""
