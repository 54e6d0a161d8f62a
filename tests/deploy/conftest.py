"""The frozen bundle (signed), a copy of it without a signature, and `keensight deploy` on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"


@pytest.fixture(scope="session")
def frozen() -> Path:
    return FROZEN / "bundle"


@pytest.fixture(scope="session")
def key() -> Path:
    return FROZEN / "release.pem.pub"


@pytest.fixture
def unsigned(tmp_path) -> Path:
    """The frozen bundle in a run folder with a name that Kubernetes would not take, without its signature."""
    bundle = tmp_path / "My Digits_2" / "bundle"
    shutil.copytree(FROZEN / "bundle", bundle, copy_function=shutil.copyfile)
    (bundle / "signature.json").unlink()
    return bundle


@pytest.fixture(scope="session")
def deploy():
    """Run `keensight deploy` in a process of its own."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keensight", "deploy", *map(str, words)],
            capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return run
