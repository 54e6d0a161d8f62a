"""The predictor, and which engine it asks; without torch."""
