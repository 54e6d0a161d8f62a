"""A studio as a process of its own, whose work is changed by lines of Python; and its page."""

import os
import signal
import subprocess
import sys
import time

import pytest

WORK = """
import sys; sys.path[:] = {path}
{changes}
from keensight.verbs.studio_work import main
main(sys.stdin, sys.stdout)
"""
STUDIO = """
import sys
from keensight.verbs import studio
studio.own_python = lambda *_: [sys.executable, "-I", "-c", sys.argv[2]]
studio.studio(sys.argv[1], no_browser=True)
"""


@pytest.fixture
def changed_studio(watched, tmp_path, own_cache):
    """Open the page of a studio, in `mine` if no folder is given; `changes` are made in each process that works."""
    running = []

    def visit(changes="", folder=tmp_path / "mine", **settings):
        work = WORK.format(path=repr(sys.path), changes=changes)
        words = [sys.executable, "-c", STUDIO, str(folder), work]
        environment = os.environ | {"KEENSIGHT_CACHE": str(own_cache), "PYTHONUNBUFFERED": "1"}
        environment["NPM_CONFIG_REGISTRY"] = "http://127.0.0.1:1"  # where nobody listens
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment))
        page, wrong = watched(**{"reduced_motion": "reduce", "bypass_csp": True} | settings)
        url = running[-1].stdout.readline().split()[0]
        ours = (url[:21], "blob:", "data:")
        page.on("request", lambda asked: asked.url.startswith(ours) or wrong.append(asked.url))
        page.goto(url)
        page.locator("#budgets input").first.wait_for()
        return page

    yield visit
    for each in running:
        each.send_signal(signal.SIGINT)
        each.communicate(timeout=60)


@pytest.fixture
def until():
    def until(page, is_so, seconds=60):
        """Wait until something outside of the page is so; the page goes on meanwhile."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, "it has never become so"
            page.wait_for_timeout(20)

    return until
