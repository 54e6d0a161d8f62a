"""The page in a real Chromium, against a real bundle: what people do with it."""

import base64
from importlib import util
from pathlib import Path

import pytest

spec = util.spec_from_file_location("page_server", Path(__file__).with_name("page_server.py"))
page_server = util.module_from_spec(spec)
spec.loader.exec_module(page_server)

FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"
DROP = """([files, kind]) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  return !document.body.dispatchEvent(event);
}"""


@pytest.fixture
def server():
    with page_server.PageServer(FROZEN / "bundle") as server:
        yield server


@pytest.fixture
def visit(watched, server):
    """Opens the page, and fails the test where a script failed or the content security policy was broken."""

    def open_page(wait="#ask", url=None, **settings):
        page, wrong = watched(**{"reduced_motion": "reduce"} | settings)
        page.on("console", lambda m: "Content Security Policy" in m.text and wrong.append(m.text))
        page.goto(url or server.url)
        if wait:
            page.locator(wait).wait_for()
        return page

    return open_page


@pytest.fixture
def choose(settled):
    def choose(page, *files):
        page.set_input_files("#files", [str(file) for file in files])
        settled(page, len(files))

    return choose


@pytest.fixture
def settled():
    def settled(page, num):
        page.wait_for_function("(n) => document.querySelectorAll('#cards .card:not(.waiting)').length === n", arg=num)

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


@pytest.fixture
def drop():
    def drop(page, files, kind="drop"):
        """Drop or paste PNG files, of a name and bytes; say whether the browser's own doing was prevented."""
        return page.evaluate(DROP, [[[name, base64.b64encode(content).decode()] for name, content in files], kind])

    return drop
