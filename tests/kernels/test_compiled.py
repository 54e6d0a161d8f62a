import ast
from pathlib import Path

import pytest

from keensight.kernels import FUNCTIONS

SETUP = Path(__file__).parents[2] / "setup.py"


@pytest.mark.skipif(not SETUP.exists(), reason="it is not in the installed package")
def test_windows_exports_what_is_called():
    assigned = [node for node in ast.parse(SETUP.read_text()).body if isinstance(node, ast.Assign)]
    (names,) = (ast.literal_eval(node.value) for node in assigned if node.targets[0].id == "FUNCTIONS")
    assert {f"keensight_{name}" for name in names} == set(FUNCTIONS)
