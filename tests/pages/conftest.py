"""A real Chromium for pages that stand in a file."""

import shutil

import pytest


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the dev extra)")
    found = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
    if found is None:
        pytest.skip("Chromium is missing: apt-get install chromium-headless-shell")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit_file(chromium):
    """Open a file, wait for what a selector names, and see to it that no script fails and nothing is requested."""
    wrong, contexts = [], []

    def open_page(file, selector, **settings):
        contexts.append(chromium.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        page.locator(selector).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
