"""Pictures by search, in a real Chromium: a server on this machine stands in for the service."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.thorough
HOSTILE = "<img src=x onerror=alert(1)>"
CHANGES = """
from keensight.care.gather import client, network
client.Network = lambda: network.Network(stand_ins={stand_ins})
"""


class Service(BaseHTTPRequestHandler):
    """Openverse, with three pictures, one of them under a hostile title, and the host that has them."""

    def do_GET(self):
        if "/images/" in self.path:
            found = [
                {
                    "url": f"https://pictures.example/{i}.jpg", "title": HOSTILE if i == 1 else f"Husky {i}",
                    "creator": f"Jane {i}",
                    "license": ("by", "cc0", "by-sa")[i],
                    "foreign_landing_url": "javascript:alert(1)" if i == 1 else f"https://example.org/{i}",
                }
                for i in range(3)
            ]  # fmt: skip
            return self.reply(json.dumps({"results": found, "page_count": 1}).encode(), "application/json")
        if self.path.endswith(".jpg"):
            rng, file = np.random.default_rng(int(self.path[1])), io.BytesIO()
            blobs = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), 3)
            blobs.save(file, "JPEG")
            return self.reply(file.getvalue(), "image/jpeg")
        return self.reply(b"", "text/plain", 404)

    def reply(self, body, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(changed_studio):
    """Open the search for a class; it goes to ports of this machine, by the host that each stands in for."""

    def visit(stand_ins):
        page = changed_studio(CHANGES.format(stand_ins=repr(stand_ins)))
        page.fill("#class-name", "husky")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Search: husky").click()
        assert page.get_by_label("What to look for").input_value() == "husky"
        return page

    return visit


def test_what_is_found_lies_in_its_class_with_its_licence_beside_it(visit, service, tmp_path, violations):
    page = visit({"api.openverse.org": service, "pictures.example": service})
    assert violations(page) == []
    page.get_by_label("Your e-mail").fill("me@example.org")
    page.get_by_role("dialog").get_by_role("button", name="Search").click()
    page.locator("#progress", has_text="3 pictures found and added to husky.").wait_for()
    page.locator('[data-name="husky"] p', has_text="3 pictures").first.wait_for()
    page.locator("#found summary").click()
    told = page.locator("#found li").all_inner_texts()
    assert sorted(each.split("\n")[-1] for each in told) == ["CC BY", "CC BY-SA", "CC0"]
    assert any("without a title, by Jane 1" in each for each in told)  # of which only the title's tags were there
    assert sorted(page.locator("#found a").evaluate_all("all => all.map((each) => each.href)")) == [
        "https://example.org/0", "https://example.org/2",
    ]  # fmt: skip
    assert violations(page) == []
    assert len(list((tmp_path / "mine" / "pictures" / "husky").iterdir())) == 3
    rows = [
        json.loads(line) for line in (tmp_path / "mine" / "gathered" / "1" / "manifest.jsonl").read_text().splitlines()
    ]
    assert {row["licence"] for row in rows} == {"by", "cc0", "by-sa"}
    page.get_by_role("button", name="Undo adding 3 pictures").click()
    page.locator('[data-name="husky"] p', has_text="0 pictures").first.wait_for()


def test_without_a_network_it_says_so_and_adds_nothing(visit):
    page = visit({"api.openverse.org": 1})  # where nobody listens
    page.get_by_role("dialog").get_by_role("button", name="Search").click()
    page.locator("#progress", has_text="The search ended: ").wait_for()
    assert "cannot be reached" in page.locator("#progress").inner_text()
    assert "Check the network" in page.locator("#progress").inner_text()
    assert page.locator("#found").is_hidden()
