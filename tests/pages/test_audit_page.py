"""The audit's page in a real Chromium: decide by buttons and by keys, save, and clean with what was saved."""

import json
import shutil
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import keensight
from keensight.care.gather.manifest import Row, rows_as_text
from keensight.data.decided import read_decisions


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Tiles of a photograph in two classes and two splits; a leak, a copy with two labels, a blank, an odd name."""
    root, image = tmp_path_factory.mktemp("audited") / "my pets", load_sample_images().images[0]
    for i in range(24):
        home = root / ("train", "test")[i % 2] / ("cat", "the <b>dog")[i // 2 % 2]
        home.mkdir(parents=True, exist_ok=True)
        top, left = i // 6 * 80, i % 6 * 80
        Image.fromarray(image[top : top + 80, left : left + 80]).save(home / f"{i}.png")
    shutil.copy(root / "test/cat/1.png", root / "train/cat/leak.png")
    Image.open(root / "train/cat/0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        root / "train/the <b>dog/mirror & more.png"
    )
    Image.fromarray(np.full((80, 80, 3), 90, np.uint8)).save(root / "train/cat/blank.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return root, keensight.audit(root, root.parent / "audit")


@pytest.fixture
def visit(visit_file, audited):
    return partial(visit_file, audited[1].page, "#save")


def test_what_is_decided_on_the_page_cleans_the_folder(visit, audited, tmp_path):
    root, _ = audited
    page = visit()
    leak = page.locator("figure", has_text="leak.png").first
    right = leak.locator(".card").nth(1).get_attribute("data-file")
    left = leak.locator(".card").nth(0).get_attribute("data-file")
    page.get_by_label("Your name").fill(" Anna\u2028\tÄ.")  # as pasted: it has to stay on one line
    leak.get_by_role("button", name="Same picture: drop the right one").click()
    mirror = page.locator('.card[data-file="train/the <b>dog/mirror & more.png"]').first
    mirror.get_by_role("combobox").select_option("label cat")
    blank = page.locator('.card[data-file="train/cat/blank.png"]').first
    drop = blank.get_by_role("button", name="Drop")
    drop.focus()
    page.keyboard.press("Space")
    assert drop.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Space")
    assert drop.get_attribute("aria-pressed") == "false"
    page.get_by_label("Reason, for what follows").fill("nothing on it")
    drop.press("Enter")
    assert "3 pictures are decided" in page.locator("#count").text_content()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.jsonl").press("Enter")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "decisions.jsonl"
    assert "keensight clean" in page.locator("#count").text_content()
    saved = {each.file: each for each in read_decisions(file)}
    assert saved[right].action == "drop" and saved[right].why == f"the same picture as {left}"
    assert (saved["train/cat/blank.png"].action, saved["train/cat/blank.png"].why) == ("drop", "nothing on it")
    assert saved["train/the <b>dog/mirror & more.png"].label == "cat"
    assert {each.who for each in saved.values()} == {"Anna Ä."}
    assert keensight.clean(root, file).moved == 3
    found = keensight.audit(root, tmp_path / "again").findings
    assert not {"leak", "blank"} & {each.kind for each in found}
    assert keensight.clean(root, undo=True).moved == 3


def test_what_was_kept_is_not_found_again(visit, audited, tmp_path):
    root, first = audited
    page = visit()
    page.locator("figure", has_text="leak.png").first.get_by_role("button", name="Both stay").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "decisions.jsonl")
    keensight.clean(root, tmp_path / "decisions.jsonl")
    again = keensight.audit(root, tmp_path / "again").findings
    assert [each.kind for each in again] == [each.kind for each in first.findings if each.kind != "leak"]
    keensight.clean(root, undo=True)


def test_the_rest_of_what_a_search_found_is_confirmed_at_once(chromium, draw, tmp_path):
    root = draw(tmp_path / "gathered", ["cat", "dog"], 4, 0)
    dataset = keensight.open_dataset(root)
    empty = {each.name: 9 if each.name in ("width", "height") else "" for each in fields(Row)}
    rows = [Row(**empty | {"file": s.path, "sha256": s.sha256, "state": "unconfirmed"}) for s in dataset.samples]
    (root / "manifest.jsonl").write_text(rows_as_text(rows))
    page = chromium.new_page()
    page.goto(keensight.audit(root, tmp_path / "audit").page.as_uri())
    section = page.locator("section", has_text="Unconfirmed labels")
    section.locator('.card[data-file="cat/0-1.png"]').get_by_role("button", name="Drop").click()
    section.get_by_role("button", name="Confirm the 8 below").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "decisions.jsonl")
    page.close()
    assert keensight.clean(root, tmp_path / "decisions.jsonl").unconfirmed == 0
    actions = [each.action for each in read_decisions(tmp_path / "gathered.decisions.jsonl")]
    assert sorted(actions) == ["confirm"] * 7 + ["drop"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(visit, violations, scheme, width):
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page.locator(".card").first.get_by_role("button", name="Drop").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


def test_the_decisions_of_audit_json_can_be_made_by_hand(audited):
    root, done = audited
    facts = json.loads((done.out / "audit.json").read_text())
    assert facts["sha256"]["train/cat/leak.png"] == facts["sha256"]["test/cat/1.png"]
    named = {path for finding in facts["findings"] for path in finding["samples"]}
    assert set(facts["sha256"]) == named and (root / "train/cat/leak.png").exists()
