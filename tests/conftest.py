"""What every test has: a cache of its own, and the real pictures where they are."""

import itertools
import os
import runpy
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: two workers share two cores

BRIEF = runpy.run_path(str(Path(__file__).with_name("brief.py")))
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's cache and away from the user's data."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KEENSIGHT_CACHE", str(folder))
    monkeypatch.delenv("KEENSIGHT_DATA", raising=False)
    return folder


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> float:
    """A clock that goes on only when it is looked at, by as much as this, so that no test depends on the machine."""
    tick_s = 0.01
    looks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: tick_s * next(looks))
    return tick_s


@pytest.fixture
def shared() -> Path:
    """The folder of real pictures; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"real pictures are missing: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="module")
def brief() -> Iterator[None]:
    """Leave out of runs what takes long, and has tests of its own: see tests/brief.py."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF["CHANGES"].items():
            patch.setattr(name, value)
        yield


@pytest.fixture(scope="module")
def brief_with_oddness() -> Iterator[None]:
    """Leave out of runs what takes long, but learn all of oddness."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF["WITH_ODDNESS"].items():
            patch.setattr(name, value)
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A run on the digits, with everything that `keensight.train` writes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    run = keensight.train("digits", out=tmp_path_factory.mktemp("runs") / "digits", set=["epochs=8"])
    patch.undo()
    return run


@pytest.fixture(scope="session")
def draw() -> Callable[[Path, Sequence[str], int, int], Path]:
    """Write pictures of noise, lighter in the third of their label, into a folder of class folders; return it."""

    def draw(folder: Path, labels: Sequence[str], count: int, seed: int) -> Path:
        rng = np.random.default_rng(seed)
        for k, label in enumerate(labels):
            for i in range(count):
                pixels = rng.integers(0, 120, (9, 9, 3), np.uint8)
                pixels[3 * (k % 3) : 3 * (k % 3) + 3] += 120
                file = folder / label / f"{seed}-{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
        return folder

    return draw


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of its own, with the options given; skipped where mounting is not permitted."""
    folder = tmp_path_factory.mktemp("disk")
    mounted = []

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root and the mount command")
    yield mount
    for each in mounted:
        subprocess.run(["umount", "--lazy", str(each)], check=True)


BROWSERS = ("chromium-headless-shell", "chromium")  # without windows to draw, it takes a third of the time
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A real Chromium; tests that need it are skipped where it is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the dev extra)")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("Chromium is missing: apt-get install chromium-headless-shell")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium):
    """Open an empty page, and return a list beside it: what it holds at the end, such as a script's error, fails."""
    wrong, contexts = [], []

    def new_page(**settings):
        contexts.append(chromium.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("filechooser", lambda _: None)  # so that choosers are caught from the start
        return page, wrong

    yield new_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def visit_file(watched):
    """Open a file, wait for what a selector names, and see to it that no script fails and nothing is requested."""

    def open_page(file, selector, **settings):
        page, wrong = watched(**settings)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        page.locator(selector).wait_for()
        return page

    return open_page


@pytest.fixture
def violations():
    """What axe finds on a page that was opened with `bypass_csp`: each rule, and the elements that break it."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed (dev extra)")

    def look(page):
        page.add_script_tag(path=str(Path(axe.__file__).with_name("axe.min.js")))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert found["passes"]
        return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]]

    return look
