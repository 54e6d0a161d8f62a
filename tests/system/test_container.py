"""The image, built and run for real: buildah without a daemon, podman with runc, on a Debian made by mmdebstrap.

python:3.11-slim cannot be had here, so the base is a Debian with its Python, without pip; pip comes from the builder.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pip
import pytest

import keensight

TOOLS = ("mmdebstrap", "buildah", "podman", "runc")
MOST_BYTES = 400_000_000
HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
LEFT_OUT = ("doc", "man", "locale", "info")


class Engine:
    """podman and buildah with a storage of their own, so that nothing of the machine's is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._storage = [
            "--root",
            str(folder / "graph"),
            "--runroot",
            str(folder / "run"),
            "--storage-driver",
            "overlay",
        ]
        (folder / "containers.conf").write_text(
            "[containers]\ndefault_ulimits = []\n[engine]\nevents_logger = 'file'\n"
        )
        self._environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}

    def __call__(self, tool: str, *words: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        runtime = ["--runtime", "runc"] if tool == "podman" else []
        return subprocess.run(
            [tool, *self._storage, *runtime, *map(str, words)],
            capture_output=True, text=True, check=False, timeout=timeout_s, env=self._environment,
        )  # fmt: skip

    def done(self, tool: str, *words: object, timeout_s: float = 120) -> str:
        ran = self(tool, *words, timeout_s=timeout_s)
        assert ran.returncode == 0, ran.stderr[-3000:]
        return ran.stdout.strip()

    def remove(self) -> None:
        self("podman", "rm", "--all", "--force")
        self("buildah", "rm", "--all")
        for mounted in (self.folder / "graph" / "overlay", self.folder / "graph" / "overlay-containers"):
            if mounted.is_mount():
                subprocess.run(["umount", "--lazy", mounted], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"containers take root, and {', '.join(TOOLS)}; missing: {', '.join(missing) or 'root'}")
    found = Engine(tmp_path_factory.mktemp("containers"))
    yield found
    found.remove()


@pytest.fixture(scope="module")
def bases(engine, tmp_path_factory) -> tuple[str, str]:
    """Debian with Python, and the same with pip."""
    root = engine.folder / "debian.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3-minimal,libpython3-stdlib",
         *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT), "bookworm", root],
        check=True, timeout=300,
    )  # fmt: skip
    engine.done("podman", "import", root, "localhost/base:test")
    root.unlink()
    probe = engine("podman", "run", "--rm", "--network=host", "localhost/base:test", "true")
    if probe.returncode:
        pytest.skip(f"this machine cannot run containers: {probe.stderr.strip()[-500:]}")
    working = engine.done("buildah", "from", "localhost/base:test")
    engine.done("buildah", "copy", working, Path(pip.__file__).parent, "/usr/lib/python3/dist-packages/pip")
    engine.done("buildah", "commit", "--rm", working, "localhost/builder:test")
    return "localhost/base:test", "localhost/builder:test"


@pytest.fixture(scope="module")
def image(engine, bases, tmp_path_factory) -> str:
    """The image of the frozen bundle, built offline: what it installs was fetched into wheels/ before."""
    frozen = Path(__file__).parents[1] / "bundle" / "frozen"
    out = tmp_path_factory.mktemp("deployed") / "image"
    made = keensight.deploy_docker(frozen / "bundle", out=out, key=frozen / "release.pem.pub", name="digits")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--python-version=3.11", "--find-links", out / "wheels", "--dest", out / "wheels",
         "--requirement", out / "requirements.txt"],
        check=True, timeout=300,
    )  # fmt: skip
    arguments = {"BASE": bases[0], "BUILDER": bases[1], "PIP_NO_INDEX": "1"}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    tag = f"localhost/{made.image}"
    engine.done("buildah", "bud", "--isolation=chroot", "--format=docker", *words, "--tag", tag, out, timeout_s=300)
    return tag


@pytest.fixture
def run(engine, image):
    """Run the image as the documentation says, and return its address once it answers."""
    port = free_port()
    names = []

    def start(*options: object) -> tuple[str, str]:
        names.append(f"test-{len(names)}")
        engine.done(
            "podman", "run", "--detach", "--name", names[-1], "--network=host", *HARDENED, *options,
            image, "--port", port,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                    assert answer.status == 200
                return names[-1], url
            except OSError:
                assert time.monotonic() < deadline, engine("podman", "logs", names[-1]).stderr
                time.sleep(0.1)

    yield start
    for name in names:
        engine("podman", "rm", "--force", name)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_the_image_is_small(engine, image, bases, tell):
    sizes = [
        int(engine.done("podman", "image", "inspect", "--format", "{{.Size}}", name)) for name in (image, bases[0])
    ]
    tell(f"image: {sizes[0] / 1e6:.0f} MB, of which {sizes[1] / 1e6:.0f} MB are its Debian base with Python")
    assert sizes[0] < MOST_BYTES


def test_it_predicts_is_healthy_and_ends_in_order(engine, image, run, tell):
    started = time.monotonic()
    name, url = run()
    tell(f"container: ready after {time.monotonic() - started:.1f} s")
    picture = (Path(__file__).parents[1] / "bundle" / "frozen" / "pictures" / "0.png").read_bytes()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/predict", picture), timeout=20) as answer:
        said = json.load(answer)
    assert (said["model"], said["version"], said["predictions"][0]["label"]) == ("digits", "0e80d139e671", "0")
    with urllib.request.urlopen(f"{url}/v1/models", timeout=20) as answer:
        assert json.load(answer)["models"][0]["verified"] is True
    check = json.loads(engine.done("podman", "image", "inspect", image))[0]["Healthcheck"]["Test"]
    assert check[:3] == ["CMD", "python3", "-c"]
    engine.done("podman", "exec", name, *check[1:3], check[3].replace("http://127.0.0.1:8000", url))
    assert engine("podman", "exec", name, *check[1:3], check[3].replace("8000", "1")).returncode == 1
    engine.done("podman", "stop", "--time", "30", name)
    assert engine.done("podman", "inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    log = engine("podman", "logs", name).stderr
    assert '"event": "stopped", "signal": "SIGTERM"' in log
    assert "telemetry" not in log


def test_what_is_not_in_it(engine, run):
    name, _ = run()

    def inside(code: str) -> str:
        return engine.done("podman", "exec", name, "python3", "-c", code)

    assert inside("import os; print(os.getuid(), os.getgid())") == "65532 65532"
    find = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    packages = ["pip", "torch", "setuptools", "sklearn", "matplotlib", "model_signing", "numpy"]
    assert engine.done("podman", "exec", name, "python3", "-c", find, *packages) == "['numpy']"
    assert inside("import shutil; print([n for n in ('gcc', 'cc', 'pip', 'pip3') if shutil.which(n)])") == "[]"
    written = (
        "import os; print([p for p in ('/', '/tmp', '/models/digits', '/key', '/opt/keensight') if os.access(p, 2)])"
    )
    assert inside(written) == "[]"


def test_a_bundle_that_was_changed_is_not_served(engine, image, tmp_path):
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("# Trust me\n")
    mount = f"{card}:/models/digits/MODEL_CARD.md:ro"
    ran = engine("podman", "run", "--rm", "--network=host", *HARDENED, "--volume", mount, image, "--port", "0")
    assert ran.returncode == 3
    assert "MODEL_CARD.md was changed" in ran.stderr


def test_the_key_of_the_cluster_decides(engine, image, tmp_path):
    """Kubernetes mounts the manifests' key over the image's: another signer's image is refused."""
    keensight.new_key(tmp_path / "other.pem")
    (tmp_path / "key").mkdir()
    shutil.copyfile(tmp_path / "other.pem.pub", tmp_path / "key" / "key.pub")
    mount = f"{tmp_path / 'key'}:/key:ro"
    ran = engine("podman", "run", "--rm", "--network=host", *HARDENED, "--volume", mount, image, "--port", "0")
    assert ran.returncode == 3
    assert "signed with another key" in ran.stderr
