"""The page by keyboard, by eye, on a phone, without motion; and against the real server."""

import hashlib
from pathlib import Path

import pytest

import keensight
from keensight.serving.keep import export_kept

pytestmark = pytest.mark.thorough
FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"
PICTURES = sorted((FROZEN / "pictures").glob("?.png"))
RING = [(0.5, 0.18), (0.7, 0.3), (0.72, 0.5), (0.68, 0.72), (0.5, 0.82), (0.32, 0.7), (0.28, 0.5), (0.31, 0.3)]
RING.append(RING[0])
PAGE = Path(keensight.__file__).parent / "serving" / "page"


def test_everything_works_by_keyboard(visit, server, settled):
    server.listed["keep"] = True
    page = visit()
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["open-card", "open-report", "choose", "camera", "draw"]
    page.locator("#choose").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(PICTURES[2]))
    settled(page, 1)
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_role("img", name="Heat map").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # No
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.keyboard.press("7")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Thank you, noted.").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Thank you, noted."
    assert server.verdicts == [{"id": "p1", "right": False, "label": "7"}]
    assert "choose a picture file instead" in page.locator("#pad-help").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 900), (360, 740)], ids=["desk", "phone"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    visit, server, scheme, size, tmp_path, choose, draw, unsure, violations
):
    server.listed["keep"] = True
    server.model["verified"] = False
    server.listed["models"] = [server.model, server.model | {"name": "other", "default": False}]
    server.answer = lambda prediction: unsure(prediction) if prediction["file"] == "1.png" else prediction
    broken = tmp_path / f"{'a-long-name-' * 15}.png"
    broken.write_bytes(b"nothing")
    page = visit(color_scheme=scheme, viewport={"width": size[0], "height": size[1]}, bypass_csp=True)
    draw(page, RING)
    choose(page, PICTURES[0], PICTURES[1], broken)
    page.get_by_role("button", name="Show what it looked at").first.click()
    page.get_by_role("img", name="Heat map").wait_for()
    page.get_by_role("button", name="No", exact=True).first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    page.get_by_role("button", name="Model card").click()
    page.locator("#card-text .weak").wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_other_dialogs(visit, server, scheme, violations):
    server.key = "open-sesame"
    page = visit(wait="#key-dialog", color_scheme=scheme, bypass_csp=True)
    assert violations(page) == []
    page.get_by_label("API key").fill("open-sesame")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#shoot:enabled").wait_for()
    assert violations(page) == []


def test_moves_nothing_where_motion_is_not_wanted(visit):
    page = visit(reduced_motion="reduce")
    assert page.locator("#choose").evaluate("each => getComputedStyle(each).transitionDuration") == "0s"


def test_needs_nothing_from_elsewhere():
    for file in PAGE.iterdir():
        text = file.read_text()
        assert "https://" not in text, file
        assert text.count("http://") == text.count('xmlns="http://www.w3.org/2000/svg"'), file
        assert not [each for each in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(") if each in text], file
    page = (PAGE / "index.html").read_text()
    assert "style=" not in page
    assert "onclick=" not in page


def test_with_the_real_server_a_key_a_picture_a_heat_map_and_a_verdict(visit, start, tmp_path, choose, titles):
    (tmp_path / "keys").write_text(hashlib.sha256(b"sesame").hexdigest())
    kept = tmp_path / "kept"
    running = start(
        FROZEN / "bundle", "--key", FROZEN / "release.pem.pub", "--api-keys", tmp_path / "keys", "--keep", kept
    )
    page = visit("#key-dialog[open]", running.url)
    page.get_by_label("API key").fill("sesame")
    page.get_by_role("button", name="Go on").click()
    page.locator("#ask").wait_for()
    assert page.locator("#banner").is_hidden()
    choose(page, PICTURES[2])
    assert titles(page) == ["2"]
    page.get_by_role("button", name="Show what it looked at").click()
    page.get_by_role("img", name="Heat map of the answer 2").wait_for()
    page.get_by_role("group", name="Was").get_by_role("button", name="Yes").click()
    page.get_by_text("Thank you, noted.").wait_for()
    assert export_kept(kept, kept / "manifest.csv") == (1, 0)
    assert (kept / "manifest.csv").read_text().endswith(".png,2\n")
