"""Workers in processes: they keep what they opened, die without loss, and end with whoever started them."""

import os
import subprocess
import sys
import time

import pytest

from keensight.errors import KeensightError
from keensight.pipeline.workers import ATTEMPTS, Processes, Recipe

MADE = """
import os, signal
from pathlib import Path
from keensight.errors import UsageError

def maker(settings):
    home = Path(settings)
    home.joinpath(f"made-{os.getpid()}").touch()
    def work(order):
        if order == "refuse":
            raise UsageError("This order is none.")
        if order == "die" or (order == "once" and not home.joinpath("died").exists()):
            home.joinpath("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [order, os.getpid()]
    return work
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "made_for_a_test.py").write_text(MADE)
    monkeypatch.syspath_prepend(tmp_path)
    return Recipe("made_for_a_test", "maker", str(tmp_path))


def test_each_order_is_answered_by_a_worker_that_is_made_once(recipe, tmp_path):
    with Processes(2, recipe) as workers:
        answers = list(workers.map(range(40)))
    assert sorted(order for order, _ in answers) == list(range(40))
    assert {pid for _, pid in answers} == {int(made.name[5:]) for made in tmp_path.glob("made-*")}
    for made in tmp_path.glob("made-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(made.name[5:]), 0)


def test_a_worker_that_dies_is_replaced_and_its_order_repeated(recipe):
    with Processes(1, recipe) as workers:
        assert [order for order, _ in workers.map(["a", "once", "b"])] == ["a", "once", "b"]


def test_an_order_that_kills_every_worker_is_named(recipe, tmp_path):
    with Processes(1, recipe) as workers, pytest.raises(KeensightError, match='died 3 times at "die"'):
        list(workers.map(["die"]))
    assert len(list(tmp_path.glob("made-*"))) == ATTEMPTS


def test_what_a_worker_refuses_is_raised_here(recipe):
    with Processes(1, recipe) as workers, pytest.raises(KeensightError, match="This order is none") as raised:
        list(workers.map(["refuse"]))
    assert raised.value.exit_status == 2


@pytest.mark.thorough
def test_workers_end_when_their_driver_is_killed(recipe, tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"from keensight.pipeline.workers import *\n"
        f"with Processes(1, Recipe(*{tuple(recipe)!r})) as workers:\n"
        "    print(*workers.map([1]), flush=True); time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(driver.stdout.readline().strip(" []\n").split(",")[1])
    driver.kill()
    driver.wait()
    driver.stdout.close()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")
