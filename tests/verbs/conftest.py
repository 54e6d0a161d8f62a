"""Whole runs without what other tests look at."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def short_runs(brief: None) -> None:
    """Have no figure drawn, and nothing trained in folds."""
