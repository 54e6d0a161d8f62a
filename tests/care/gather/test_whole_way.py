"""The whole way, as a person goes it: gather, explore, audit, decide on the page, clean, train, sign; and back."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.errors import KeensightError

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("decoded_here", "brief")]


def tree(folder):
    """All files below a folder, with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def found(world):
    """Cats are red and dogs are blue; number 3 of the cats is a dog, and number 5 shows nothing."""

    def answer(asked):
        number = int(re.search(r"\d+", asked.path)[0])
        is_dog, file = number >= 1000, io.BytesIO()
        image = np.asarray(Image.open(io.BytesIO(world.picture(number if number != 3 else 1003)))).astype(int)
        image[..., 0 if is_dog or number == 3 else 2] //= 4
        Image.fromarray(image.astype(np.uint8) if number != 5 else np.full((120, 160, 3), 90, np.uint8)).save(
            file, "PNG"
        )
        return world.says(file.getvalue())

    world.results("cat", "dog", of=20)
    world.on("https://pictures.example/", answer)
    return world


def test_from_a_search_to_a_signed_bundle_that_says_who_decided_what_and_back(found, visit_file, violations, tmp_path):
    pets = tmp_path / "home" / "pets"
    gathered = found.gather(["cat", "dog"], pets, count=20)
    assert gathered.labels == {"cat": 20, "dog": 20}
    assert [each.kind for each in gathered.findings] == ["label"]  # the dog is there under both
    before = tree(pets)

    seen = keensight.explore(pets, tmp_path / "seen")
    assert {"label", "blank"} <= {each.kind for each in seen.findings}
    assert violations(visit_file(seen.page, "#field", bypass_csp=True)) == []

    audited = keensight.audit(pets, tmp_path / "audit")
    page = visit_file(
        audited.page, "#save", bypass_csp=True, viewport={"width": 390, "height": 844}, has_touch=True
    )  # on a phone
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and violations(page) == []
    page.get_by_label("Your name").fill("Anna")
    page.get_by_label("Reason, for what follows").fill("it barks")
    assert page.locator("section code", has_text="keensight audit").count() == 1  # and no backticks
    twice = page.locator("section", has_text="Two labels").first
    wrong = twice.locator('.card[data-label="cat"]').first
    wrong.get_by_role("combobox").select_option("label dog")
    relabelled = wrong.get_attribute("data-file")
    page.get_by_label("Reason, for what follows").fill("")
    blank = page.locator("section", has=page.get_by_role("heading", name="Blank"))
    blank.get_by_role("button", name="Drop").tap()
    dropped = blank.locator(".card").get_attribute("data-file")
    page.locator(".confirm button").tap()
    with page.expect_download() as download:
        page.locator("#save").tap()
    download.value.save_as(tmp_path / "decisions.jsonl")

    cleaned = keensight.clean(pets, tmp_path / "decisions.jsonl")
    assert (cleaned.moved, cleaned.unconfirmed) == (2, 0)
    listed, told = keensight.open_dataset(pets), keensight.open_dataset(gathered.manifest)
    assert {s.path for s in listed.samples} == {s.path for s in told.samples} and len(listed.samples) == 39
    assert not {"blank"} & {each.kind for each in keensight.audit(pets, tmp_path / "again").findings}

    run = keensight.train(pets, recipe="logistic", out=tmp_path / "run", set=["epochs=1"])
    key, public = keensight.new_key(tmp_path / "release.pem")
    keensight.sign(run.bundle, key=key)
    keensight.verify(run.bundle, key=public)
    info = run.bundle / "bundle.json"
    noted = {each["file"]: each for each in json.loads(info.read_text())["data"]["decisions"]["list"]}
    assert len(noted) == 40 and {each["who"] for each in noted.values()} == {"Anna"}
    assert (noted[relabelled]["action"], noted[relabelled]["label"], noted[relabelled]["why"]) == (
        "relabel",
        "dog",
        "it barks",
    )
    assert noted[dropped]["action"] == "drop" and noted[dropped]["sha256"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", each["when"]) for each in noted.values())
    info.write_text(info.read_text().replace("it barks", "it meows"))
    with pytest.raises(KeensightError):
        keensight.verify(run.bundle, key=public)

    keensight.clean(pets, undo=True)
    assert tree(pets) == before and [each.name for each in pets.parent.iterdir()] == ["pets"]
