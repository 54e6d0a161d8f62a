"""What stands beside an answer: doubts, heat maps, verdicts, cards, other models."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough
FROZEN = Path(__file__).parents[2] / "bundle" / "frozen"
PICTURES = sorted((FROZEN / "pictures").glob("?.png"))


def test_says_not_sure_first_and_then_the_best_guess(visit, server, choose, said, unsure):
    server.answer = unsure
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards h3").inner_text() == "Not sure"
    assert "Best guess: 3, 41.0" in page.locator("#cards .guess").inner_text()
    said(page, "3.png: not sure, best guess 3, 41.0")


def test_says_that_a_picture_is_none_of_these(visit, server, choose, said):
    reasons = ["none of these: unlike anything it has learnt"]
    server.answer = lambda prediction: prediction | {"abstained": True, "reasons": reasons}
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards h3").inner_text() == "None of these"
    guess = page.locator("#cards .guess").inner_text()
    assert guess == "It is unlike anything that the model has learnt. The nearest is 3."
    said(page, "3.png: none of these, the nearest is 3")


def test_shows_notes(visit, server, choose):
    server.answer = lambda prediction: prediction | {"notes": ["was inverted"]}
    page = visit()
    choose(page, PICTURES[3])
    assert page.locator("#cards .note").inner_text() == "This picture was inverted."


def test_lays_a_heat_map_over_the_picture_and_takes_it_away_again(visit, server, choose, said):
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


def test_no_heat_map_is_offered_where_the_server_explains_nothing(visit, server, choose, titles):
    server.listed["explain"] = False
    page = visit()
    choose(page, PICTURES[2])
    assert titles(page) == ["2"]
    assert page.get_by_role("button", name="Show what it looked at").count() == 0


def test_says_so_where_no_part_stands_out(visit, server, choose, said):
    server.largest_drop = "0.0106"
    page = visit()
    choose(page, PICTURES[2])
    page.get_by_role("button", name="Show what it looked at").click()
    said(page, "No part stands out: none by itself changes the odds of “2” much.")


def test_takes_verdicts_where_pictures_are_kept(visit, server, choose):
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


def test_asks_for_no_verdict_where_nothing_is_kept(visit, choose):
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


def test_shows_the_ten_likeliest_of_many_classes_and_all_on_demand(visit, server, choose):
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


def test_asks_the_model_that_is_chosen(visit, server, choose, settled):
    server.listed["models"] = [server.model, server.model | {"name": "letters", "default": False, "drawing": False}]
    page = visit()
    page.get_by_label("Model", exact=True).select_option("letters")
    assert page.locator("h1").inner_text() == "letters"
    with page.expect_request("**/v1/predict*") as asked:
        choose(page, PICTURES[0])
    assert asked.value.url.endswith("?model=letters")
    settled(page, 1)
    assert f"letters@{server.model['version']}" in page.locator("#cards .file").inner_text()


def test_asks_the_version_that_is_chosen_where_a_name_has_several(visit, server, choose):
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


def test_on_a_phone_the_answer_is_in_sight(visit, server, choose):
    page = visit(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    choose(page, PICTURES[0])
    page.wait_for_function("document.querySelector('#cards .bars li').getBoundingClientRect().bottom < innerHeight")
    assert page.evaluate("document.querySelector('#cards h3').getBoundingClientRect().top") > 0


def test_says_first_what_nobody_must_miss(visit, server):
    server.model["warnings"] = ["The model is below the majority class baseline of 73.6 %: do not use it as it is."]
    page = visit()
    assert page.locator("#banner").inner_text().startswith("The model is below the majority class baseline")
