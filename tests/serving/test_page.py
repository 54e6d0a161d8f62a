"""The page in a real Chromium, against a real bundle: what people do with it, and what goes wrong around it."""

import base64
import hashlib
import io
import shutil
from importlib import util
from pathlib import Path

import pytest
from PIL import Image

from keensight.serving.keep import export_kept

pytestmark = pytest.mark.thorough

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the dev extra)")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed (dev extra)")
BROWSERS = ("chromium-headless-shell", "chromium")  # without windows to draw, it takes a third of the time
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
if CHROMIUM is None:
    pytest.skip("Chromium is missing: apt-get install chromium-headless-shell", allow_module_level=True)

spec = util.spec_from_file_location("page_server", Path(__file__).with_name("page_server.py"))
page_server = util.module_from_spec(spec)
spec.loader.exec_module(page_server)

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"
PICTURES = sorted((FROZEN / "pictures").glob("?.png"))
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
TWO_UP = [(0.4, 0.3), (0.52, 0.18), (0.52, 0.82)]
RING = [(0.5, 0.18), (0.7, 0.3), (0.72, 0.5), (0.68, 0.72), (0.5, 0.82), (0.32, 0.7), (0.28, 0.5), (0.31, 0.3)]
RING.append(RING[0])
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


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


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


def choose(page, *files):
    page.set_input_files("#files", [str(file) for file in files])
    settled(page, len(files))


def settled(page, num):
    page.wait_for_function(
        "(n) => document.querySelectorAll('#cards .card:not(.waiting)').length === n", arg=num, timeout=15_000
    )


def titles(page):
    return [text.split()[0] for text in page.locator("#cards h3").all_inner_texts()]


def draw(page, *strokes):
    box = page.locator("#canvas").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def said(page, words):
    """Wait until the live region says it."""
    page.wait_for_function("(words) => document.getElementById('live').textContent.includes(words)", arg=words)


def unsure(prediction):
    return prediction | {"abstained": True, "probability": 0.41}


# ---- pictures in, answers out


def test_says_what_the_model_is_before_anything_is_asked(visit):
    page = visit()
    assert page.locator("h1").inner_text() == "digits"
    assert "Right on 96.7" in page.locator("#accuracy").inner_text()
    assert "8×8 pixels in grey" in page.locator("#facts").inner_text()
    assert page.locator("#banner").is_hidden()


def test_answers_for_a_chosen_file_with_bars_for_all_classes(visit):
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


def test_answers_for_several_files_in_their_order_and_the_newest_batch_first(visit):
    page = visit()
    choose(page, PICTURES[3])
    page.set_input_files("#files", [str(file) for file in PICTURES[:3]])
    settled(page, 4)
    assert titles(page) == ["0", "1", "2", "3"]
    assert all(page.locator("#cards img").evaluate_all("all => all.map((each) => each.naturalWidth > 0)"))


def test_sends_no_more_at_once_than_the_server_takes(visit, server):
    server.listed["max_pictures"] = 2
    page = visit()
    choose(page, *PICTURES, PICTURES[0])
    assert titles(page) == ["0", "1", "2", "3", "0"]
    assert server.paths.count("/v1/predict") == 3


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_answers_for_dropped_and_pasted_pictures(visit, kind):
    page = visit()
    files = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in PICTURES[:2]]
    assert page.evaluate(DROP, [files, kind])  # the browser's own doing was prevented
    settled(page, 2)
    assert titles(page) == ["0", "1"]


def test_answers_for_a_picture_from_the_camera_and_lets_go_of_it(visit, server):
    page = visit()
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#shoot:enabled").click()
    settled(page, 1)
    ((name, content),) = server.pictures
    assert name == "camera.jpg"
    assert min(Image.open(io.BytesIO(content)).size) >= 240
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert page.locator("#camera-dialog").is_hidden()


def test_says_so_where_the_camera_is_refused(visit):
    page = visit()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('not allowed'); }; }"
    )
    page.get_by_role("button", name="Use the camera").click()
    said(page, "The camera cannot be used (not allowed). Choose a picture file instead.")


def test_removes_all_answers(visit):
    page = visit()
    choose(page, PICTURES[0])
    page.get_by_role("button", name="Remove all").click()
    assert page.locator("#cards .card").count() == 0
    assert page.evaluate("document.activeElement.id") == "choose"


# ---- drawing


def test_answers_for_what_is_drawn_while_it_is_drawn(visit, server):
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


def test_on_a_phone_the_drawing_and_its_answer_are_seen_together(visit, server):
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


def test_a_drawings_size_and_place_do_not_matter(visit, server):
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


def test_sends_a_drawing_only_when_asked_to_where_pictures_are_kept(visit, server):
    server.listed["keep"] = True
    page = visit()
    assert "This server keeps the pictures" in page.locator("#privacy").inner_text()
    draw(page, TWO_UP)
    page.wait_for_timeout(500)
    assert not server.pictures
    page.get_by_role("button", name="What is it?").click()
    page.locator("#pad-answer .bars").wait_for()
    assert len(server.pictures) == 1


def test_has_no_drawing_pad_for_other_models(visit, server):
    server.model["drawing"] = False
    page = visit()
    assert page.locator("#pad").is_hidden()
    assert page.locator("#draw").is_hidden()


# ---- what stands beside an answer


def test_says_not_sure_first_and_then_the_best_guess(visit, server):
    server.answer = unsure
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards h3").inner_text() == "Not sure"
    assert "Best guess: 3, 41.0" in page.locator("#cards .guess").inner_text()
    said(page, "3.png: not sure, best guess 3, 41.0")


def test_says_that_a_picture_is_none_of_these(visit, server):
    reasons = ["none of these: unlike anything it has learnt"]
    server.answer = lambda prediction: prediction | {"abstained": True, "reasons": reasons}
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards h3").inner_text() == "None of these"
    guess = page.locator("#cards .guess").inner_text()
    assert guess == "It is unlike anything that the model has learnt. The nearest is 3."
    said(page, "3.png: none of these, the nearest is 3")


def test_shows_notes(visit, server):
    server.answer = lambda prediction: prediction | {"notes": ["was inverted"]}
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards .note").inner_text() == "This picture was inverted."


def test_lays_a_heat_map_over_the_picture_and_takes_it_away_again(visit, server):
    page = visit()
    choose(page, PICTURES[2])
    assert "/v1/explain" not in server.paths
    toggle = page.get_by_role("button", name="Show what it looked at")
    toggle.click()
    heat = page.get_by_role("img", name="Heat map of the answer 2")
    heat.wait_for()
    assert heat.bounding_box() == page.locator("#cards .picture img").first.bounding_box()
    assert toggle.get_attribute("aria-pressed") == "true"
    said(page, "Blue speaks for “2”: without it")
    toggle.click()
    assert heat.count() == 0
    assert toggle.get_attribute("aria-pressed") == "false"


def test_no_heat_map_is_offered_where_the_server_explains_nothing(visit, server):
    server.listed["explain"] = False
    page = visit()
    choose(page, PICTURES[2])
    assert titles(page) == ["2"]
    assert page.get_by_role("button", name="Show what it looked at").count() == 0


def test_says_so_where_no_part_stands_out(visit, server):
    server.largest_drop = "0.0106"
    page = visit()
    choose(page, PICTURES[2])
    page.get_by_role("button", name="Show what it looked at").click()
    said(page, "No part stands out: none by itself changes the odds of “2” much.")


def test_takes_verdicts_where_pictures_are_kept(visit, server):
    server.listed["keep"] = True
    page = visit()
    choose(page, *PICTURES[:3])
    boxes = page.get_by_role("group", name="Was")
    boxes.nth(0).get_by_role("button", name="Yes").click()
    page.get_by_text("Thank you, noted.").wait_for()
    boxes.nth(1).get_by_role("button", name="No").click()
    assert "1" not in boxes.nth(1).locator("option").all_inner_texts()
    boxes.nth(1).get_by_label("What is it?").select_option(label="7")
    boxes.nth(1).get_by_role("button", name="Send").click()
    page.get_by_text("Thank you, noted.").nth(1).wait_for()
    boxes.nth(2).get_by_role("button", name="No").click()
    assert boxes.nth(2).get_by_role("button", name="Send").is_disabled()
    boxes.nth(2).get_by_label("What is it?").select_option(label="something else")
    boxes.nth(2).get_by_role("button", name="Send").click()
    page.get_by_text("Thank you, noted.").nth(2).wait_for()
    assert server.verdicts == [
        {"id": "p1", "right": True, "label": None},
        {"id": "p2", "right": False, "label": "7"},
        {"id": "p3", "right": False, "label": None},
    ]


def test_asks_for_no_verdict_where_nothing_is_kept(visit):
    page = visit()
    choose(page, PICTURES[0])
    assert page.get_by_text("Was this right?").count() == 0
    assert page.locator("#privacy").inner_text() == "This server keeps no pictures."


def test_opens_the_model_card_at_its_weaknesses(visit):
    page = visit()
    page.get_by_role("button", name="Model card and weaknesses").click()
    card = page.get_by_role("dialog", name="Model card")
    card.get_by_role("heading", name="Known weaknesses").wait_for()
    assert card.locator(".weak").evaluate("each => each.getBoundingClientRect().bottom < innerHeight")
    assert card.get_by_text("recall of 5: 88.9% of 27 test pictures").count() == 1
    assert card.locator("thead th").all_inner_texts()[:2] == ["on", "accuracy"]
    assert card.locator("tbody tr").count() == 2
    page.keyboard.press("Escape")
    assert card.count() == 0
    assert page.evaluate("document.activeElement.id") == "open-card"


def test_opens_the_report_in_a_tab_of_its_own(visit):
    page = visit()
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Full report").click()
    assert opened.value.url.endswith("/v1/models/digits/report")
    assert opened.value.evaluate("window.opener") is None


def test_shows_the_ten_likeliest_of_many_classes_and_all_on_demand(visit, server):
    names = [f"class {i}" for i in range(150)]
    server.model |= {"labels": names, "drawing": False}
    many = {name: (1 + i) / 11325 for i, name in enumerate(names)}
    server.answer = lambda prediction: (
        prediction | {"probabilities": many, "label": "class 149", "probability": 150 / 11325}
    )
    page = visit()
    choose(page, PICTURES[0])
    rows = page.locator("#cards .bars li")
    assert rows.count() == 10
    assert rows.first.inner_text().startswith("class 149")
    more = page.get_by_role("button", name="Show all 150 classes")
    more.click()
    assert rows.count() == 150
    page.get_by_role("button", name="Show the ten likeliest").click()
    assert rows.count() == 10
    assert "and 138 more" in page.locator("#facts").inner_text()


def test_asks_the_model_that_is_chosen(visit, server):
    server.listed["models"] = [server.model, server.model | {"name": "letters", "default": False, "drawing": False}]
    page = visit()
    page.get_by_label("Model", exact=True).select_option("letters")
    assert page.locator("h1").inner_text() == "letters"
    with page.expect_request("**/v1/predict*") as asked:
        choose(page, PICTURES[0])
    assert asked.value.url.endswith("?model=letters")
    settled(page, 1)
    assert f"letters@{server.model['version']}" in page.locator("#cards .file").inner_text()


def test_asks_the_version_that_is_chosen_where_a_name_has_several(visit, server):
    server.listed["models"] = [server.model, server.model | {"version": "0" * 12, "default": False}]
    name = server.model["name"]
    page = visit()
    page.get_by_label("Model", exact=True).select_option(f"{name}@{'0' * 12}")
    with page.expect_request("**/v1/predict*") as asked:
        choose(page, PICTURES[0])
    assert asked.value.url.endswith(f"?model={name}%40{'0' * 12}")


@pytest.mark.parametrize("address", ["?model=letters", "?model=letters%40v2", "?model=letters&version=v2"])
def test_the_pages_address_names_the_model(visit, server, address):
    other = {"name": "letters", "version": "v2", "default": False, "drawing": False}
    server.listed["models"] = [server.model, server.model | other]
    page = visit(url=server.url + address)
    assert page.locator("h1").inner_text() == "letters"
    page.get_by_label("Model", exact=True).select_option("digits")
    assert page.url.endswith("?model=digits")  # to be passed on


def test_says_so_where_the_pages_address_names_no_model(visit, server):
    page = visit(url=server.url + "?model=nix")
    assert page.locator("h1").inner_text() == "digits"
    assert "This server has no model nix" in page.locator("#trouble").inner_text()


def test_says_who_signed_a_verified_model(visit, server):
    server.model["signed_by"] = "d8bb0bd391c8182a" + "0" * 48
    assert "Signed by the key d8bb0bd391c8182a, and checked" in visit().locator("#vouched").inner_text()
    server.model["verified"] = False
    assert visit().locator("#vouched").is_hidden()


def test_on_a_phone_the_answer_is_in_sight(visit, server):
    page = visit(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    choose(page, PICTURES[0])
    page.wait_for_function("document.querySelector('#cards .bars li').getBoundingClientRect().bottom < innerHeight")
    assert page.evaluate("document.querySelector('#cards h3').getBoundingClientRect().top") > 0


def test_says_first_what_nobody_must_miss(visit, server):
    server.model["warnings"] = ["The model is below the majority class baseline of 73.6 %: do not use it as it is."]
    page = visit()
    assert page.locator("#banner").inner_text().startswith("The model is below the majority class baseline")


# ---- hostile, broken, refused


def test_treats_labels_file_names_and_cards_as_text(visit, server, tmp_path):
    server.listed["keep"] = True
    server.model |= {"name": HOSTILE, "labels": [HOSTILE, "b"]}
    rows = f"| {HOSTILE} | b\\|c |\n|-|-|\n| 1 | 2 |\n"
    server.card = f"# {HOSTILE}\n\n## Known weaknesses\n\n- {HOSTILE} [a](javascript:alert(1))\n\n{rows}"
    server.answer = lambda prediction: (
        prediction
        | {
            "label": HOSTILE,
            "probabilities": {HOSTILE: 0.9, "b": 0.1},
            "notes": [HOSTILE],
        }
    )
    page = visit()
    files = [["<img src=x onerror=alert(1)>.png", base64.b64encode(PICTURES[0].read_bytes()).decode()]]
    page.evaluate(DROP, [files, "drop"])
    settled(page, 1)
    assert page.locator("#cards h3").inner_text().startswith(HOSTILE)
    assert "<img src=x onerror=alert(1)>.png" in page.locator("#cards .file").inner_text()
    page.get_by_role("button", name="No", exact=True).click()
    page.get_by_role("button", name="Model card").click()
    page.locator("#card-text .weak").wait_for()
    assert page.locator("#card-text th").all_inner_texts()[:2] == [HOSTILE, "b|c"]
    assert page.locator("[onerror], #card-text a, img[src=x]").count() == 0
    assert page.title().startswith(HOSTILE)  # as text, and not "owned"


def test_a_refused_picture_says_why_and_the_others_are_answered(visit, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(PICTURES[0].read_bytes()[:60])
    page = visit()
    choose(page, broken, PICTURES[1])
    assert titles(page) == ["No", "1"]
    assert "It is refused: " in page.locator("#cards .failed").inner_text()
    assert page.get_by_role("button", name="Try again").count() == 0  # it would be refused again


def test_waits_for_a_busy_server_and_asks_once_more(visit, server):
    server.busy = 1
    page = visit()
    choose(page, PICTURES[0])
    assert titles(page) == ["0"]
    assert server.paths.count("/v1/predict") == 2


def test_says_that_the_server_is_busy_and_offers_to_try_again(visit, server):
    server.busy = 2
    page = visit()
    choose(page, PICTURES[0])
    assert "The server is busy. Try again in a moment." in page.locator("#cards .failed").inner_text()
    page.get_by_role("button", name="Try again").click()
    page.locator("#cards .bars").wait_for()
    assert titles(page) == ["0"]


def test_says_that_the_server_cannot_be_reached(visit, server):
    page = visit()
    server.stop()
    choose(page, PICTURES[0])
    assert "The server cannot be reached." in page.locator("#cards .failed").inner_text()
    said(page, "The server cannot be reached.")


def test_says_so_where_the_server_is_gone_from_the_start(visit):
    page = visit()
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    page.locator("#banner", has_text="The server cannot be reached.").wait_for()
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Try again").click()
    page.locator("#ask").wait_for()


def test_makes_pictures_smaller_that_are_too_large_and_keeps_them_upright(visit, server, tmp_path):
    server.listed["max_bytes"] = 60_000
    noise = Image.effect_noise((600, 300), 100)
    noise.paste(0, (0, 0, 300, 300))  # the left half is black; EXIF says: turn by 90 degrees to the right
    turned = Image.Exif()
    turned[0x0112] = 6
    large = tmp_path / "large.jpg"
    noise.save(large, quality=95, exif=turned)
    assert large.stat().st_size > 60_000
    page = visit()
    choose(page, large)
    ((_, content),) = server.pictures
    sent = Image.open(io.BytesIO(content))
    assert len(content) < 60_000
    assert sent.getexif().get(0x0112, 1) == 1
    assert sent.height == pytest.approx(2 * sent.width, abs=1)
    grey = sent.convert("L")
    top, bottom = (grey.crop((0, i * sent.height // 2 + 8, sent.width, (i + 1) * sent.height // 2 - 8)) for i in (0, 1))
    assert top.getextrema()[1] < 60 < bottom.getextrema()[1]
    assert "JPEG copy" in page.locator("#cards .note").inner_text()


def test_refuses_what_is_too_large_and_not_a_picture(visit, server, tmp_path):
    server.listed["max_bytes"] = 20_000
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(30_000))
    page = visit()
    choose(page, film, PICTURES[0])
    assert "It has 30 kB, and this server takes 19 kB." in page.locator("#cards .failed").inner_text()
    assert [name for name, _ in server.pictures] == ["0.png"]


def test_converts_a_picture_that_only_the_browser_can_open(visit, server, tmp_path):
    def refuse_bmp(prediction):
        if server.pictures[-1][1].startswith(b"BM"):
            return {"file": "x", "error": {"code": "unsupported_format", "message": "Not accepted."}}
        return prediction

    server.answer = refuse_bmp
    odd = tmp_path / "odd.bmp"
    Image.open(PICTURES[1]).resize((64, 64)).save(odd)
    page = visit()
    for num in (1, 2):  # alone and among others, a refusal looks different
        choose(page, *[odd, PICTURES[0]][:num]) if num == 1 else page.set_input_files("#files", [odd, PICTURES[0]])
        settled(page, 2 * num - 1)
        assert page.locator("#cards .card").first.locator("h3").inner_text().startswith("1")
        assert server.pictures[-1][1].startswith(b"\xff\xd8")


def test_asks_for_a_key_once_and_keeps_it_in_memory_only(visit, server):
    server.key = "open-sesame"
    page = visit(wait="#key-dialog")
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="That key was not accepted").wait_for()
    page.get_by_label("API key").fill("open-sesame")
    page.get_by_role("button", name="Go on").click()
    page.locator("#ask").wait_for()
    choose(page, PICTURES[0])
    assert titles(page) == ["0"]
    assert page.locator("#key-dialog").is_hidden()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Full report").click()
    assert saved.value.suggested_filename == "digits-report.html"
    page.reload()
    page.locator("#key-dialog").wait_for()


def test_without_a_key_it_says_what_is_missing(visit, server):
    server.key = "open-sesame"
    page = visit(wait="#key-dialog")
    page.keyboard.press("Escape")
    page.locator("#banner", has_text="This server answers only with a key.").wait_for()


@pytest.mark.parametrize(
    ("signed", "what"),
    [(False, "This model is not signed."), (True, "The signature of this model was not checked.")],
)
def test_warns_of_a_model_whose_signature_is_missing_or_unchecked(visit, server, signed, what):
    server.model |= {"signed": signed, "verified": False}
    page = visit()
    assert page.locator("#banner").inner_text().startswith(what)


def test_says_so_where_the_model_was_never_measured(visit, server):
    server.model |= {"accuracy": None, "parameters": None}
    assert visit().locator("#accuracy").inner_text() == "The accuracy of this model was not measured."


# ---- for everybody


def test_everything_works_by_keyboard(visit, server):
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
def test_axe_finds_nothing_and_nothing_sticks_out(visit, server, scheme, size, tmp_path):
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
    serious(page)
    page.get_by_role("button", name="Model card").click()
    page.locator("#card-text .weak").wait_for()
    serious(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_other_dialogs(visit, server, scheme):
    server.key = "open-sesame"
    page = visit(wait="#key-dialog", color_scheme=scheme, bypass_csp=True)
    serious(page)
    page.get_by_label("API key").fill("open-sesame")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#shoot:enabled").wait_for()
    serious(page)


def serious(page):
    page.add_script_tag(path=str(Path(axe.__file__).with_name("axe.min.js")))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"]
    bad = [(v["id"], v["impact"], [n["target"] for n in v["nodes"]]) for v in found["violations"]]
    assert not [each for each in bad if each[1] in ("serious", "critical", "moderate")]


def test_moves_nothing_where_motion_is_not_wanted(visit):
    page = visit(reduced_motion="reduce")
    assert page.locator("#choose").evaluate("each => getComputedStyle(each).transitionDuration") == "0s"


def test_needs_nothing_from_elsewhere():
    for file in page_server.PAGE.iterdir():
        text = file.read_text()
        assert "https://" not in text, file
        assert text.count("http://") == text.count('xmlns="http://www.w3.org/2000/svg"'), file
        assert not [each for each in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(") if each in text], file
    page = (page_server.PAGE / "index.html").read_text()
    assert "style=" not in page
    assert "onclick=" not in page


def test_with_the_real_server_a_key_a_picture_a_heat_map_and_a_verdict(visit, start, tmp_path):
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
