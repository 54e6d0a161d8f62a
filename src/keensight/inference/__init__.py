"""The engines and the predictor, without torch."""
