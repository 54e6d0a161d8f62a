"""Numbers alone: metrics, calibration, baselines, the report's values."""
