"""Run the command line in processes of its own: cold, as a user does; warm, forked from one that has torch; or lean,
forked from one that has nothing but the command line, and where some packages cannot be imported."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

TIMEOUT_S = 90.0  # far more than anything takes: it only keeps a hang from being endless
# Tests run side by side, and OpenMP's waiting threads would fight over the cores: three times as slow, or worse.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

# A warm start saves four seconds of imports; all else is as in a process of its own, signals and descriptors included.
WARM = f"""
import importlib, pkgutil, runpy
import torch._dynamo, sklearn.cluster, sklearn.datasets, scipy.optimize, scipy.stats, PIL.Image, filelock, uvicorn
import model_signing, keensight.bundle.sign, keensight.bundle.verify, torch.profiler, sklearn.isotonic
import keensight.cli, keensight.verbs, keensight.explanation.weights, keensight.pages.report, keensight.training.tune
import keensight.serving.app, keensight.serving.lifecycle, keensight.evaluation.crossed, keensight.care.duplicates
for package in keensight.cli, keensight.verbs:
    for each in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(each.name)
with keensight.training.tune._optuna() as optuna:
    optuna.samplers.TPESampler(seed=0), optuna.importance.FanovaImportanceEvaluator(seed=0)
PIL.Image.init(), keensight.pages.report._template("pages/report.html")
for name, value in runpy.run_path({str(Path(__file__).parents[1] / "brief.py")!r})["CHANGES"].items():
    home, _, last = name.rpartition(".")
    setattr(pkgutil.resolve_name(home), last, value)
"""
LEAN = "import cyclopts, rich.console"
SERVER = """
import gc, json, os, signal, sys
from keensight.cli import main
class Refuse:
    def __init__(self, names, error):
        self.names, self.error = names, error
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {*names}, loaded & {*names}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            error = self.error(f"{name} is imported")
            error.name = name
            raise error
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
assert "onnxruntime" not in sys.modules  # it starts a thread, and a fork would lose it
gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        pid, status = os.waitpid(job["wait"], os.WNOHANG)
        print(os.waitstatus_to_exitcode(status) if pid else "running", flush=True)
        continue
    if pid := os.fork():
        print(pid, flush=True)
        continue
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for number, path in enumerate((os.devnull, job["out"], job["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.meta_path[:0] = Refuse(job["without"], AssertionError), Refuse(job["missing"], ModuleNotFoundError)
    try:
        main(job["words"])
    except SystemExit as end:  # torch takes a second and a half to tidy up
        sys.stderr.flush()
        os._exit(end.code or 0)
os._exit(0)
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the one JSON object that stdout must be."""
        assert self.status == 0, self.err
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def remarks(self) -> list[str]:
        """What stderr says besides that a bundle carries no signature."""
        return [line for line in self.err.splitlines() if "carries no signature" not in line]

    def refusal(self) -> str:
        """Return the one paragraph that says why it failed; anything else on stderr is a note."""
        assert self.status == 1, (self.status, self.err)
        return self.paragraph()

    def paragraph(self) -> str:
        """Return the one paragraph that says why it did not come to its end."""
        assert "Traceback" not in self.err
        assert "should not have happened" not in self.err
        assert "\x1b" not in self.err
        *notes, last = self.err.splitlines()
        assert all(line.startswith("note: ") for line in notes), self.err
        assert last.startswith("keensight: "), self.err
        return last.removeprefix("keensight: ")


def keensight(*words: object, cwd: Path | None = None, **environment: str) -> Done:
    """Run `keensight` as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "keensight", *map(str, words)],
        cwd=cwd, env=os.environ | ONE_THREAD | environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


class Warm:
    """A process that has some packages imported, and forks a fresh `keensight` for each call."""

    def __init__(self, folder: Path, imports: str) -> None:
        self._folder = folder
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", imports + SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | ONE_THREAD,
        )  # fmt: skip

    def __call__(self, *words: object, **options: Any) -> Done:
        """Run a command to its end; the options are those of `start`."""
        return self.start(*words, **options).wait()

    def start(
        self, *words: object, cwd: Path | None = None, out: Path | None = None, without: Iterable[str] = (),
        missing: Iterable[str] = (), **environment: str,
    ) -> "Running":  # fmt: skip
        """Start a command: one that fails if it imports what it shall go `without`, or where packages are `missing`."""
        self._count += 1
        out, err = out or self._folder / f"{self._count}.out", self._folder / f"{self._count}.err"
        pid = self._ask(
            {
                "words": list(map(str, words)),
                "cwd": str(cwd or Path.cwd()),
                "env": os.environ | ONE_THREAD | environment,
                "out": str(out),
                "err": str(err),
                "without": list(without),
                "missing": list(missing),
            }
        )
        return Running(int(pid), out, err, self)

    def status(self, pid: int) -> int | None:
        """Return the exit status of a child that has ended; -9 is one that was killed by signal 9."""
        answer = self._ask({"wait": pid})
        return None if answer == "running" else int(answer)

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def _ask(self, job: dict[str, Any]) -> str:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline().strip()
        assert answer, "the warm process has died"
        return answer


@dataclass
class Running:
    """A command under way."""

    pid: int
    out: Path
    err: Path
    server: Warm
    ended: int | None = None

    def is_over(self) -> bool:
        """Tell whether it has come to its end."""
        if self.ended is None:
            self.ended = self.server.status(self.pid)
        return self.ended is not None

    def until(self, happens: Callable[[], object]) -> None:
        """Wait until something happens, which must be before the command ends."""
        deadline = time.monotonic() + TIMEOUT_S
        while not happens():
            assert not self.is_over(), f"it ended too soon: {self.err.read_text()}"
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert not self.is_over(), f"it ended too soon: {self.err.read_text()}"
        os.kill(self.pid, number)

    def wait(self) -> Done:
        """Wait for its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.is_over():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                pytest.fail(f"it hangs; so far it said: {self.err.read_text()}")
            time.sleep(0.01)
        assert self.ended is not None
        return Done(self.ended, self.out.read_text() if self.out.is_file() else "", self.err.read_text())


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Run `keensight` in forks of a process that has it imported."""
    server = Warm(tmp_path_factory.mktemp("warm"), WARM)
    yield server
    server.close()


@pytest.fixture(scope="session")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Run `keensight` in forks of a process that has nothing else imported."""
    server = Warm(tmp_path_factory.mktemp("lean"), LEAN)
    yield server
    server.close()


@pytest.fixture(scope="session")
def cold() -> Callable[..., Done]:
    """Run `keensight` as a user does."""
    return keensight


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """The run folder of a model of scikit-learn's digits, light on dark, trained once for all workers."""
    home = tmp_path_factory.getbasetemp()
    home = home.parent if os.environ.get("PYTEST_XDIST_WORKER") else home
    run = home / "digits"
    with open(home / "digits.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run.exists():
            done = warm(
                "train", "digits", "--out", run, "--set", "epochs=20", KEENSIGHT_CACHE=str(home / "digits-cache")
            )
            assert done.status == 0, done.err
    return run


def two_classes(root: Path, num_each: int = 60, size_px: int = 24, seed: int = 0) -> Path:
    """Write pictures of two kinds, each noise with a bar that lies or stands, into two class folders."""
    rng = np.random.default_rng(seed)
    for kind in ("lying", "standing"):
        (root / kind).mkdir(parents=True)
        for i in range(num_each):
            levels = rng.integers(0, 120, (size_px, size_px), np.uint8)
            at = int(rng.integers(2, size_px - 3))
            bar = levels if kind == "lying" else levels.T
            bar[at : at + 2] = 200
            Image.fromarray(levels).save(root / kind / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 60 grey pictures of 24x24."""
    return two_classes(tmp_path_factory.mktemp("pictures") / "bars")


def tensors_sha256(path: Path, prefix: str = "") -> str:
    """Return one hash of all tensors in a safetensors file whose names begin with `prefix`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        if name.startswith(prefix):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def sha256() -> Callable[..., str]:
    """Hash the tensors of a safetensors file."""
    return tensors_sha256


@pytest.fixture(scope="session")
def make_pictures() -> Callable[..., Path]:
    """Write a small folder of pictures."""
    return two_classes
