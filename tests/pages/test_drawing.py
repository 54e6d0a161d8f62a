"""What drawing says to people who asked for none of it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.thorough
def test_without_a_home_folder_matplotlib_is_silent():
    code = "import keensight.pages.figures"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"HOME": "/proc/none", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
