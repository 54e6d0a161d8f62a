"""A thousand hostile requests for a real server. `make fuzz` sends a hundred thousand."""

import asyncio
import json
import signal
import sys
from importlib import util
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

spec = util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
fuzz = sys.modules["fuzz"] = util.module_from_spec(spec)
spec.loader.exec_module(fuzz)

SPARE_MB = 600  # 200 of the largest picture that is accepted, its 8-bit copy, and bodies that are under way


def test_hostile_requests_fail_without_an_error_of_the_server(start, frozen, digit, tmp_path):
    server = start(frozen, "--keep", tmp_path / "kept")
    assert server.post("/v1/predict", content=digit).status_code == 200
    memory = fuzz.Memory(server.process.pid)
    outcome = asyncio.run(fuzz.attack(server.port, fuzz.Generator(0).cases(1000)))
    memory.stop()
    assert server.post("/v1/predict", content=digit).json()["predictions"][0]["label"] == "0"
    assert "keensight_queue_length 0.0" in server.get("/metrics").text
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    lines = server.err.read_text().splitlines()
    assert fuzz.failures(outcome, [json.loads(line) for line in lines if "keensight: warning" not in line]) == []
    assert {"200", "400", "404", "405", "413", "415"} <= set(outcome.statuses)
    assert max(memory.samples) < memory.samples[0] + SPARE_MB


def test_the_same_seed_makes_the_same_requests():
    assert list(fuzz.Generator(7).cases(300)) == list(fuzz.Generator(7).cases(300))
    assert list(fuzz.Generator(7).cases(30)) != list(fuzz.Generator(8).cases(30))
