"""What goes wrong around the page: hostile names, refusals, busy and lost servers, keys."""

import io
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.thorough
FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"
PICTURES = sorted((FROZEN / "pictures").glob("?.png"))
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


def test_treats_labels_file_names_and_cards_as_text(visit, server, tmp_path, drop, settled):
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
    drop(page, [("<img src=x onerror=alert(1)>.png", PICTURES[0].read_bytes())])
    settled(page, 1)
    assert page.locator("#cards h3").inner_text().startswith(HOSTILE)
    assert "<img src=x onerror=alert(1)>.png" in page.locator("#cards .file").inner_text()
    page.get_by_role("button", name="No", exact=True).click()
    page.get_by_role("button", name="Model card").click()
    page.locator("#card-text .weak").wait_for()
    assert page.locator("#card-text th").all_inner_texts()[:2] == [HOSTILE, "b|c"]
    assert page.locator("[onerror], #card-text a, img[src=x]").count() == 0
    assert page.title().startswith(HOSTILE)  # as text, and not "owned"


def test_a_refused_picture_says_why_and_the_others_are_answered(visit, tmp_path, choose, titles):
    broken = tmp_path / "broken.png"
    broken.write_bytes(PICTURES[0].read_bytes()[:60])
    page = visit()
    choose(page, broken, PICTURES[1])
    assert titles(page) == ["No", "1"]
    assert "It is refused: " in page.locator("#cards .failed").inner_text()
    assert page.get_by_role("button", name="Try again").count() == 0  # it would be refused again


def test_waits_for_a_busy_server_and_asks_once_more(visit, server, choose, titles):
    server.busy = 1
    page = visit()
    choose(page, PICTURES[0])
    assert titles(page) == ["0"]
    assert server.paths.count("/v1/predict") == 2


def test_says_that_the_server_is_busy_and_offers_to_try_again(visit, server, choose, titles):
    server.busy = 2
    page = visit()
    choose(page, PICTURES[0])
    assert "The server is busy. Try again in a moment." in page.locator("#cards .failed").inner_text()
    page.get_by_role("button", name="Try again").click()
    page.locator("#cards .bars").wait_for()
    assert titles(page) == ["0"]


def test_says_that_the_server_cannot_be_reached(visit, server, choose, said):
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


def test_makes_pictures_smaller_that_are_too_large_and_keeps_them_upright(visit, server, tmp_path, choose):
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


def test_refuses_what_is_too_large_and_not_a_picture(visit, server, tmp_path, choose):
    server.listed["max_bytes"] = 20_000
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(30_000))
    page = visit()
    choose(page, film, PICTURES[0])
    assert "It has 30 kB, and this server takes 19 kB." in page.locator("#cards .failed").inner_text()
    assert [name for name, _ in server.pictures] == ["0.png"]


def test_converts_a_picture_that_only_the_browser_can_open(visit, server, tmp_path, choose, settled):
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


def test_asks_for_a_key_once_and_keeps_it_in_memory_only(visit, server, choose, titles):
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
