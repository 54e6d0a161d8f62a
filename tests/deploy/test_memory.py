"""What a pod asks for and may take is measured on the bundle."""

import subprocess
import sys

import pytest

from keensight.deploy import kubernetes, memory
from keensight.deploy.kubernetes import memory_of
from keensight.deploy.memory import MiB, limit_for, measured, request_for
from keensight.deploy.release import release_of
from keensight.deploy.resources import LEAST_MEMORY, Resources
from keensight.errors import KeensightError


@pytest.mark.thorough
def test_a_small_model_is_measured(frozen):
    """Against what a fresh process with the same libraries takes, by the kernel's account of it."""
    imports = (
        "import keensight.serving.lifecycle, onnxruntime, pathlib, re;"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    bare = 1024 * int(subprocess.run([sys.executable, "-c", imports], capture_output=True, check=True).stdout)
    peak = measured(frozen, "any", 1, True)
    assert bare < peak < bare + 100 * MiB
    assert peak <= LEAST_MEMORY


def test_a_bundle_that_cannot_be_measured_is_named(tmp_path):
    with pytest.raises(KeensightError, match=r"none takes could not be measured \(.*bundle.*Give --memory"):
        measured(tmp_path / "none", "any", 1, True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("448Mi", "1024Mi")),
        ({"memory": "2Gi"}, ("2Gi", "2Gi")),
        ({"memory": "300Mi"}, ("300Mi", "1024Mi")),
        ({"memory_limit": "256Mi"}, ("256Mi", "256Mi")),
        ({"memory_limit": "4Gi"}, ("448Mi", "4Gi")),
    ],
)
def test_what_is_not_given_is_measured(frozen, monkeypatch, given, expected):
    asked = []
    monkeypatch.setattr(kubernetes, "measured", lambda *about: asked.append(about) or 400 * MiB)
    release = release_of(frozen, None, True, None, explains=False)
    assert memory_of(release, Resources(**given, cpu_limit="2500m")) == expected
    assert asked == [(release.bundle.path, release.version, 3, False)]


def test_what_is_given_is_not_measured(frozen, monkeypatch):
    monkeypatch.setattr(kubernetes, "measured", None)
    release = release_of(frozen, None, True, None)
    assert memory_of(release, Resources(memory="1Gi", memory_limit="2Gi")) == ("1Gi", "2Gi")


def test_two_measurements_that_differ_a_little_agree():
    assert {request_for(peak * MiB) for peak in (321, 350, 384)} == {"384Mi"}
    assert limit_for(0) == f"{memory.ROOM // MiB}Mi"
