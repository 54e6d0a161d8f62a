"""Two nodes on one machine: each in a network namespace of its own, with a cable between them that can be cut.

Needs root, iproute2 and Ray. Each node has its own folder in place of Ray's temporary one, and its own shared memory.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HEAD, OTHER = "10.77.0.1", "10.77.0.2"
PORT = 6379
LINK = ("ks1", "ks2")
QUICK = {  # losses are noticed in seconds
    "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3", "RAY_health_check_initial_delay_ms": "2000",
    "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
}  # fmt: skip


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Nodes:
    """A head with one processor, and another node with one."""

    def __init__(self, folder: Path):
        self.folder, self.running = folder, {}
        self.environment = {
            **os.environ, **QUICK, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1",
            "HOME": str(folder), "KEENSIGHT_CACHE": str(folder / "cache"),
        }  # fmt: skip

    def __enter__(self):
        for space in LINK:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
            ip("netns", "add", space)
        ip("link", "add", "eth0", "netns", LINK[0], "type", "veth", "peer", "name", "eth0", "netns", LINK[1])
        for space, address in zip(LINK, (HEAD, OTHER), strict=True):
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        self.start("head")
        self.start("other")
        return self

    def started(self, name: str) -> int:
        """How often a node has started, by its own words."""
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace").count("Ray runtime started") if log.exists() else 0

    def __exit__(self, *_):
        for name in list(self.running):
            self.kill(name)
        for space in LINK:
            ip("netns", "del", space)

    def command(self, space: str, own: Path, words: list[str]) -> list[str]:
        """Words to run in a namespace, with a temporary folder and shared memory of its own."""
        own.mkdir(parents=True, exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        script = 'mount --bind "$0" /tmp/ray; mountpoint -q /dev/shm && mount -t tmpfs none /dev/shm; exec "$@"'
        return [
            "ip",
            "netns",
            "exec",
            space,
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            str(own),
            *words,
        ]

    def start(self, name: str) -> None:
        is_head = name == "head"
        words = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--object-store-memory=200000000",
                 "--disable-usage-stats", "--block", f"--node-ip-address={HEAD if is_head else OTHER}"]  # fmt: skip
        words += ["--head", f"--port={PORT}", "--include-dashboard=false"] if is_head else [f"--address={HEAD}:{PORT}"]
        before = self.started(name)
        self.running[name] = self.popen(LINK[not is_head], name, words, f"{name}.log")
        until(lambda: self.started(name) > before)

    def kill(self, name: str) -> None:
        """Kill a node at once: all its processes."""
        running = self.running.pop(name)
        for space_pid in self.processes(name):
            try:
                os.kill(space_pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        running.wait()

    def processes(self, name: str) -> list[int]:
        """All processes of a node: those in its namespace that see its folder."""
        space = LINK[name != "head"]
        found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
        own = str(self.folder / name)
        return [pid for pid in map(int, found.split()) if own in _read(pid, "mountinfo")]

    def workers(self, name: str) -> list[int]:
        """The processes of a node in which a worker trains."""
        return [pid for pid in self.processes(name) if "ray::Worker." in _read(pid, "cmdline")]

    def cut(self, is_cut: bool = True) -> None:
        ip("-n", LINK[1], "link", "set", "eth0", "down" if is_cut else "up")

    def train(self, *words: str) -> subprocess.Popen:
        """Start `keensight train` on the head's machine."""
        words = [sys.executable, "-m", "keensight", "train", *words, "--cluster", f"{HEAD}:{PORT}"]
        return self.popen(LINK[0], "head", words, "train.log")

    def popen(self, space: str, own: str, words: list[str], log: str) -> subprocess.Popen:
        with (self.folder / log).open("ab") as file:
            command = self.command(space, self.folder / own, words)
            return subprocess.Popen(command, env=self.environment, stdout=file, stderr=file)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def until(condition, limit_s: float = 300.0) -> float:
    """Wait until something is so; return the seconds that it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < limit_s, f"not in {limit_s:g} s"
        time.sleep(0.1)
    return time.monotonic() - begin
