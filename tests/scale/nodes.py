"""Two nodes on one machine: each in a network namespace of its own, with a cable between them that can be cut.

Needs root, iproute2 and Ray. Each node has its own folder in place of Ray's temporary one, and its own shared memory.
All that runs in a namespace ends with it, and what a killed test left behind is removed by the next one.
"""

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HEAD, OTHER = "10.77.0.1", "10.77.0.2"
PORT = 6379
NAMES = ("head", "other")
PREFIX = "keensight"  # of the namespaces' names, before this process's number
LIMIT_S = 900.0  # for whatever is waited for: far more than it takes on a busy machine
AGENTS = ("dashboard_agent_listen", "metrics_agent", "metrics_export")  # what tells Ray its ports, if it has them
RAYLET = re.compile(r"raylet/raylet .*/(?P<session>session_[^/]+)/sockets/raylet .*--node_id=(?P<node>\w+)")
RAY = {
    "RAY_health_check_period_ms": "1000", "RAY_health_check_initial_delay_ms": "2000", "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "600000", "RAY_raylet_start_wait_time_s": "600",
}  # fmt: skip
QUICK = {"RAY_health_check_timeout_ms": "2000", "RAY_health_check_failure_threshold": "3"}  # a loss is noticed in 6 s
PATIENT = {"RAY_health_check_timeout_ms": "10000", "RAY_health_check_failure_threshold": "6"}  # for a busy machine


@functools.cache
def why_not() -> str:
    """Return why there can be no two nodes here, and what to do; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root: run it as root"
    if shutil.which("ip") is None:
        return "the command ip is missing: apt-get install iproute2"
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: pip install -c constraints.txt '.[scale]'"
    try:
        ip("netns", "add", f"{PREFIX}-{os.getpid()}-try")
        ip("netns", "del", f"{PREFIX}-{os.getpid()}-try")
    except OSError as error:
        return f"this machine makes no network namespaces ({error}): in a container, it must be a privileged one"
    return ""


def ip(*words: str) -> str:
    """Run ip, and return what it says; raises OSError with its own words."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Nodes:
    """A head with one processor, and another node with one."""

    def __init__(self, folder: Path, health: dict[str, str] = PATIENT):
        self.folder, self.running = folder, {}
        self.spaces = {name: f"{PREFIX}-{os.getpid()}-{name}" for name in NAMES}
        self.environment = {
            **os.environ, **RAY, **health, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1", "HOME": str(folder), "KEENSIGHT_CACHE": str(folder / "cache"),
        }  # fmt: skip

    def __enter__(self):
        remove_what_was_left()
        try:
            for space in self.spaces.values():
                ip("netns", "add", space)
            head, other = self.spaces.values()
            ip("link", "add", "eth0", "netns", head, "type", "veth", "peer", "name", "eth0", "netns", other)
            for space, address in ((head, HEAD), (other, OTHER)):
                ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
                ip("-n", space, "link", "set", "eth0", "up")
                ip("-n", space, "link", "set", "lo", "up")
            for name in NAMES:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for space in self.spaces.values():
            remove(space)
        for each in self.running.values():
            each.wait()

    def start(self, name: str) -> None:
        """Start Ray on a node, and wait until it runs."""
        log = self.folder / f"{name}.log"
        own = ["--head", f"--port={PORT}", f"--node-ip-address={HEAD}", "--include-dashboard=false", "--no-monitor"]
        if name == "other":
            own = [f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}"]
        words = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--object-store-memory=200000000"]
        words += ["--disable-usage-stats", "--include-log-monitor=false", "--runtime-env-agent-port=52364", "--block"]
        before = text_of(log).count("Ray runtime started")
        self.running[name] = self.popen(name, [*words, *own], log)
        until(lambda: self.is_started(name, before), f"{name}: Ray", self.running[name], log)

    def is_started(self, name: str, before: int) -> bool:
        """Say whether Ray runs on a node, which it did already so many times.

        Ray ends where its agents do not write down their ports within 15 s, and on a busy machine importing them takes
        longer. Nobody needs these agents, so it is told here that they have none.
        """
        for pid in pids_in(self.spaces[name]):
            if found := RAYLET.search(words_of(pid)):
                for agent in AGENTS:
                    file = self.folder / name / found["session"] / f"{agent}_port_{found['node']}"
                    file.exists() or file.write_text("-1")
        return text_of(self.folder / f"{name}.log").count("Ray runtime started") > before

    def kill(self, name: str) -> None:
        """Kill a node at once: all its processes."""
        kill_all(self.spaces[name])
        self.running.pop(name).wait()

    def workers(self, name: str) -> list[int]:
        """Return the processes of a node in which a worker trains."""
        return [pid for pid in pids_in(self.spaces[name]) if "ray::Worker." in words_of(pid)]

    def cut(self, is_cut: bool = True) -> None:
        """Cut the cable, or mend it."""
        ip("-n", self.spaces["other"], "link", "set", "eth0", "down" if is_cut else "up")

    def popen(self, name: str, words: list[str], log: Path) -> subprocess.Popen:
        """Start a program on a node, with the node's own temporary folder and shared memory."""
        own = self.folder / name
        own.mkdir(parents=True, exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        script = 'mount --bind "$0" /tmp/ray; mountpoint -q /dev/shm && mount -t tmpfs none /dev/shm; exec "$@"'
        apart = ["ip", "netns", "exec", self.spaces[name], "unshare", "-m", "--propagation", "private"]
        with log.open("ab") as file:
            command = [*apart, "sh", "-c", script, str(own), *words]
            return subprocess.Popen(command, env=self.environment, stdout=file, stderr=file)


def remove_what_was_left() -> None:
    """Remove the namespaces of tests whose process is gone, and all that runs in them."""
    for line in ip("netns", "list").splitlines():
        space = line.split()[0]
        prefix, _, rest = space.partition("-")
        if prefix == PREFIX and not Path(f"/proc/{rest.partition('-')[0]}").exists():
            remove(space)


def remove(space: str) -> None:
    """Remove a namespace, and all that runs in it; nothing if there is none."""
    with contextlib.suppress(OSError):
        kill_all(space)
        ip("netns", "del", space)


def kill_all(space: str) -> None:
    """Kill all that runs in a namespace; raises OSError if there is none."""
    while pids := pids_in(space):  # what is killed may have started something meanwhile
        for pid in pids:
            kill(pid)
        time.sleep(0.05)


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def pids_in(space: str) -> list[int]:
    """Return all processes of a namespace; raises OSError if there is none."""
    return [int(pid) for pid in ip("netns", "pids", space).split()]


def words_of(pid: int) -> str:
    """Return a process's command line, or "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def text_of(log: Path) -> str:
    """Return what a program has written so far."""
    return log.read_text(errors="replace") if log.exists() else ""


def until(condition, what: str, running: subprocess.Popen, log: Path) -> float:
    """Wait until something is so, for as long as a program runs; return the seconds that it took."""
    begin = time.monotonic()
    while not condition():
        ended = running.poll() is not None and not condition()
        if ended or time.monotonic() - begin > LIMIT_S:
            why = f"it ended with {running.returncode}" if ended else f"not in {LIMIT_S:g} s"
            raise AssertionError(f"{what}: {why}. Its last words:\n{text_of(log)[-3000:]}")
        time.sleep(0.05)
    return time.monotonic() - begin
