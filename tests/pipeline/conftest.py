"""Whole runs whose figures nobody looks at."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def figures(undrawn: None) -> None:
    """Have no figure drawn."""
