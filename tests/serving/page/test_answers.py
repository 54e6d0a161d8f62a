"""Pictures in, answers out, in a real Chromium against a real bundle."""

import io
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.thorough
FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"
PICTURES = sorted((FROZEN / "pictures").glob("?.png"))


def test_says_what_the_model_is_before_anything_is_asked(visit):
    page = visit()
    assert page.locator("h1").inner_text() == "digits"
    assert "Right on 96.7" in page.locator("#accuracy").inner_text()
    assert "8×8 pixels in grey" in page.locator("#facts").inner_text()
    assert page.locator("#banner").is_hidden()


def test_answers_for_a_chosen_file_with_bars_for_all_classes(visit, settled, titles, said):
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose pictures").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files(str(PICTURES[2]))
    settled(page, 1)
    assert titles(page) == ["2"]
    rows = page.locator("#cards .bars li")
    assert rows.count() == 10
    assert rows.first.inner_text().split()[:2] == ["2", "96.4"]
    widths = rows.locator(".fill").evaluate_all("all => all.map((each) => each.getBoundingClientRect().width)")
    track = rows.first.locator(".track").evaluate("each => each.getBoundingClientRect().width")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / track == pytest.approx(0.964, abs=0.01)
    said(page, "2.png: 2, 96.4")


def test_an_answer_costs_one_request_and_waits_for_no_timer(visit, server):
    page = visit()
    page.clock.install()
    page.clock.pause_at("2100-01-01")
    page.set_input_files("#files", str(PICTURES[0]))
    page.locator("#cards .card:not(.waiting) h3", has_text="0").wait_for()
    assert server.paths[-1] == "/v1/predict"
    assert server.paths.count("/v1/predict") == 1


def test_answers_for_several_files_in_their_order_and_the_newest_batch_first(visit, choose, settled, titles):
    page = visit()
    choose(page, PICTURES[3])
    page.set_input_files("#files", [str(file) for file in PICTURES[:3]])
    settled(page, 4)
    assert titles(page) == ["0", "1", "2", "3"]
    assert all(page.locator("#cards img").evaluate_all("all => all.map((each) => each.naturalWidth > 0)"))


def test_sends_no_more_at_once_than_the_server_takes(visit, server, choose, titles):
    server.listed["max_pictures"] = 2
    page = visit()
    choose(page, *PICTURES, PICTURES[0])
    assert titles(page) == ["0", "1", "2", "3", "0"]
    assert server.paths.count("/v1/predict") == 3


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_answers_for_dropped_and_pasted_pictures(visit, kind, drop, settled, titles):
    page = visit()
    files = [(file.name, file.read_bytes()) for file in PICTURES[:2]]
    assert drop(page, files, kind)  # the browser's own doing was prevented
    settled(page, 2)
    assert titles(page) == ["0", "1"]


def test_answers_for_a_picture_from_the_camera_and_lets_go_of_it(visit, server, settled):
    page = visit()
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#shoot:enabled").click()
    settled(page, 1)
    ((name, content),) = server.pictures
    assert name == "camera.jpg"
    assert min(Image.open(io.BytesIO(content)).size) >= 240
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert page.locator("#camera-dialog").is_hidden()


def test_says_so_where_the_camera_is_refused(visit, said):
    page = visit()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('not allowed'); }; }"
    )
    page.get_by_role("button", name="Use the camera").click()
    said(page, "The camera cannot be used (not allowed). Choose a picture file instead.")


def test_removes_all_answers(visit, choose):
    page = visit()
    choose(page, PICTURES[0])
    page.get_by_role("button", name="Remove all").click()
    assert page.locator("#cards .card").count() == 0
    assert page.evaluate("document.activeElement.id") == "choose"
