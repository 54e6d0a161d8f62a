"""The page in a real Chromium, against a real bundle: what people do with it."""

from importlib import util
from pathlib import Path

import pytest

spec = util.spec_from_file_location("page_server", Path(__file__).with_name("page_server.py"))
page_server = util.module_from_spec(spec)
spec.loader.exec_module(page_server)

FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"


@pytest.fixture
def server():
    with page_server.PageServer(FROZEN / "bundle") as server:
        yield server


@pytest.fixture
def visit(chromium, server):
    """Opens the page, and fails the test where a script failed or the content security policy was broken."""
    wrong, contexts = [], []

    def open_page(wait="#ask", url=None, **settings):
        contexts.append(chromium.new_context(**{"reduced_motion": "reduce"} | settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: "Content Security Policy" in m.text and wrong.append(m.text))
        page.on("filechooser", lambda _: None)  # so that choosers are caught from the start
        page.goto(url or server.url)
        if wait:
            page.locator(wait).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def choose(settled):
    def choose(page, *files):
        page.set_input_files("#files", [str(file) for file in files])
        settled(page, len(files))

    return choose


@pytest.fixture
def settled():
    def settled(page, num):
        page.wait_for_function(
            "(n) => document.querySelectorAll('#cards .card:not(.waiting)').length === n", arg=num, timeout=15_000
        )

    return settled


@pytest.fixture
def titles():
    def titles(page):
        return [text.split()[0] for text in page.locator("#cards h3").all_inner_texts()]

    return titles


@pytest.fixture
def draw():
    def draw(page, *strokes):
        box = page.locator("#canvas").bounding_box()
        for stroke in strokes:
            points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            page.mouse.move(*points[0])
            page.mouse.down()
            for point in points[1:]:
                page.mouse.move(*point, steps=4)
            page.mouse.up()

    return draw


@pytest.fixture
def said():
    def said(page, words):
        """Wait until the live region says it."""
        page.wait_for_function("(words) => document.getElementById('live').textContent.includes(words)", arg=words)

    return said


@pytest.fixture
def unsure():
    def unsure(prediction):
        return prediction | {"abstained": True, "probability": 0.41}

    return unsure
