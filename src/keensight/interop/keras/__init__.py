"""Reads models that Keras saved, without Keras."""
