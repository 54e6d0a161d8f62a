import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keensight.machine import cores, cpu_limit, share_the_cores


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cores_are_never_more_than_the_affinity():
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "own", "limit"),
    [
        ({}, "0::/\n", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"pod/cpu.max": "50000 100000\n", "pod/box/cpu.max": "max 100000\n"}, "0::/pod/box\n", 0.5),
        ({"pod/cpu.max": "300000 100000\n", "pod/box/cpu.max": "200000 100000\n"}, "0::/pod/box\n", 2.0),
        ({"cpu.max": "200000 100000\n"}, "0::/not/seen/from/here\n", 2.0),
        ({"cpu.max": "nonsense\n"}, "0::/\n", None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n", None),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/docker/x\n", 2.5),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:memory:/\n", None),
        ({"cpu/a/cpu.cfs_quota_us": "1000\n", "cpu/a/cpu.cfs_period_us": "0\n"}, "4:cpu:/a\n", None),
    ],
)
def test_the_limit_of_control_groups(tmp_path, files, own, limit):
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    write(tmp_path / "own", own)
    assert cpu_limit(tmp_path / "cgroup", tmp_path / "own") == limit


def test_no_control_groups(tmp_path):
    assert cpu_limit(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize("limit", [0.2, 1.0, 1.5, 1000.0, None])
def test_cores_follow_the_limit(monkeypatch, limit):
    affinity = len(os.sched_getaffinity(0))
    monkeypatch.setattr("keensight.machine.cpu_limit", lambda: limit)
    assert cores() == (affinity if limit is None else min(affinity, math.ceil(limit)))


def test_a_server_collects_as_often_as_python_does_by_default():
    """In a process of its own, as a command line that ran in this one has changed how often it collects."""
    program = (
        "import gc; before = gc.get_threshold(); from keensight import machine\n"
        "machine.collect_rarely(); assert gc.get_threshold()[0] > 10 * before[0]\n"
        "machine.return_memory(); assert gc.get_threshold() == before\n"
        "assert not gc.get_freeze_count(), 'the garbage of the program around it would stay'\n"
        "machine.keep_what_is_loaded(); assert gc.get_freeze_count() > 1000"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_of_openblas_sleep_soon_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "26")
    share_the_cores()
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["OPENBLAS_THREAD_TIMEOUT"]) == ("1", "26")
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    program = (
        "import os, time; from keensight.machine import share_the_cores; share_the_cores()\n"
        "import numpy; product = numpy.ones((512, 512)) @ numpy.ones((512, 512))\n"
        "begin = time.process_time(); time.sleep(0.2); print(time.process_time() - begin)"
    )
    spun = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert float(spun) < 0.02  # 0.04 s and more by default, on two cores


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone can bound it")
def test_memory_can_be_bounded():
    program = (
        "from keensight.machine import bound_memory; bound_memory(2**28); held = bytearray(2**27)\n"
        "try: bytearray(2**28)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
