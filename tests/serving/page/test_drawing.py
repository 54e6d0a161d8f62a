"""Drawings on the page, and the answers while they are drawn."""

import io

import pytest
from PIL import Image

pytestmark = pytest.mark.thorough
TWO_UP = [(0.4, 0.3), (0.52, 0.18), (0.52, 0.82)]
RING = [(0.5, 0.18), (0.7, 0.3), (0.72, 0.5), (0.68, 0.72), (0.5, 0.82), (0.32, 0.7), (0.28, 0.5), (0.31, 0.3)]
RING.append(RING[0])


def test_answers_for_what_is_drawn_while_it_is_drawn(visit, server, draw):
    page = visit()
    draw(page, RING)
    page.locator("#pad-answer h3", has_text="0").wait_for()
    picture = Image.open(io.BytesIO(server.pictures[-1][1])).convert("L")
    left, top, right, bottom = picture.point(lambda level: 255 * (level > 127)).getbbox()
    assert picture.size == (224, 224)
    assert bottom - top > 215  # it fills the height, as the 8x8 digits do
    assert abs(left + right - 224) <= 2
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#pad-answer .card").count() == 0


def test_on_a_phone_the_drawing_and_its_answer_are_seen_together(visit, server, draw):
    page = visit(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    page.locator("#canvas").scroll_into_view_if_needed()  # its lower edge at that of the screen, the answer below
    draw(page, RING)
    page.locator("#pad-answer .bars").wait_for()
    for seen in ("#canvas", "#pad-answer h3", "#pad-answer .bars"):
        box = page.locator(seen).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 700, seen
    before = page.evaluate("scrollY")
    draw(page, TWO_UP)  # nothing moves any more
    until_sent(page, server, 2)
    assert page.evaluate("scrollY") == before


def until_sent(page, server, number):
    for _ in range(500):
        if len(server.pictures) >= number:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{len(server.pictures)} pictures were sent, not {number}")


def test_a_drawings_size_and_place_do_not_matter(visit, server, draw):
    page = visit()
    draw(page, RING)
    page.locator("#pad-answer h3", has_text="0").wait_for()
    page.get_by_role("button", name="Undo").click()
    draw(page, [(0.1 + x / 3, 0.6 + y / 3) for x, y in RING])
    until_sent(page, server, 2)
    large, small = (Image.open(io.BytesIO(server.pictures[i][1])).convert("L") for i in (0, -1))
    differing = sum(abs(a - b) > 127 for a, b in zip(large.tobytes(), small.tobytes(), strict=True))
    assert len(server.pictures) == 2
    assert differing / 224**2 < 0.03


def test_sends_a_drawing_only_when_asked_to_where_pictures_are_kept(visit, server, draw):
    server.listed["keep"] = True
    page = visit()
    assert "This server keeps the pictures" in page.locator("#privacy").inner_text()
    page.clock.install()
    draw(page, TWO_UP)
    page.clock.run_for(60_000)  # whatever waits for a pause has its turn
    assert not server.pictures
    page.get_by_role("button", name="What is it?").click()
    page.locator("#pad-answer .bars").wait_for()
    assert len(server.pictures) == 1


def test_has_no_drawing_pad_for_other_models(visit, server):
    server.model["drawing"] = False
    page = visit()
    assert page.locator("#pad").is_hidden()
    assert page.locator("#draw").is_hidden()
