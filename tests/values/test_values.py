"""The front door of the values: every name is there, and loaded when it is used."""

import subprocess
import sys

import pytest

from keensight import values


@pytest.mark.parametrize("name", values.__all__)
def test_every_name_is_there(name):
    assert getattr(values, name) is not None


def test_no_other_name_is():
    assert set(values._HOME) == set(values.__all__) == set(dir(values))
    with pytest.raises(AttributeError, match="no attribute 'Reprot'"):
        _ = values.Reprot


def test_a_name_loads_its_own_file_alone():
    code = "import sys; from keensight.values import Prediction; print([m for m in sys.modules if '.values.' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['keensight.values.answers']\n"
