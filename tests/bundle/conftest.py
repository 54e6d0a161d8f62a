"""The frozen bundle: written, signed and answered by keensight 0.1.0, to be read by every later release."""

from pathlib import Path

import pytest

FROZEN = Path(__file__).parent / "frozen"


@pytest.fixture
def frozen() -> Path:
    """A bundle of format 1: logistic regression on the built-in digits, signed."""
    return FROZEN / "bundle"


@pytest.fixture
def frozen_key() -> Path:
    """The public key that belongs to the signature; the private one was thrown away."""
    return FROZEN / "release.pem.pub"
