"""Other people's answers, from packages of which only a few files can be imported."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bare(monkeypatch):
    """Let packages be imported without what their `__init__.py` imports: torchvision and others, needed by no test."""

    def make_bare(*names):
        for name in names:
            top, *inner = name.split(".")
            module = ModuleType(name)
            (folder,) = sys.modules[top].__path__ if inner else find_spec(top).submodule_search_locations
            module.__path__ = [str(Path(folder, *inner))]
            monkeypatch.setitem(sys.modules, name, module)

    known = set(sys.modules)
    yield make_bare
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("torchcp", "pytorch_ood"):
            del sys.modules[name]
