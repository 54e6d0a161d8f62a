"""What is gathered from local servers that stand in for the services: pictures, and all that is known of them."""

import json
import re
from collections import Counter
from hashlib import sha256

import pytest
from PIL import Image

import keensight
from keensight.care.gather.manifest import read_manifest, unconfirmed

SEARCH = "https://api.openverse.org/v1/images/"
pytestmark = pytest.mark.usefixtures("decoded_here")


def test_pictures_come_with_all_that_is_known_of_them(pets, tmp_path):
    done = pets.gather(["cat", "other=dog"], tmp_path / "pets", count=5, contact="me@example.org")
    assert done.labels == {"cat": 5, "other": 5}
    rows = [json.loads(line) for line in (tmp_path / "pets" / "manifest.jsonl").read_text().splitlines()]
    assert Counter(row["label"] for row in rows) == {"cat": 5, "other": 5}
    for row in rows:
        content = (tmp_path / "pets" / row["file"]).read_bytes()
        number = int(re.search(r"(\d+)\.jpg", row["url"])[1])
        assert content == pets.picture(number)
        assert row["sha256"] == sha256(content).hexdigest()
        assert row["query"] == ("dog" if row["label"] == "other" else "cat")
        assert row["landing_page"] == f"https://example.org/{number}"
        assert row["creator"] == f"Creator {number}"
        assert (row["licence"], row["licence_url"]) == ("by", "https://creativecommons.org/licenses/by/2.0/")
        assert row["state"] == "unconfirmed"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["date"])
        assert (row["width"], row["height"]) == (160, 120)
    assert unconfirmed(done.manifest) == {row["sha256"]: row["label"] for row in rows}
    assert {each.headers["User-Agent"] for each in pets.asked} == {
        "keensight/0.1.0 (me@example.org; gathers pictures for a classifier)"
    }


def test_the_attribution_page_names_every_picture(pets, tmp_path):
    done = pets.gather(["cat"], tmp_path, count=3)
    page = done.attribution.read_text()
    for row in read_manifest(done.manifest):
        assert (
            f"- `{row.file[4:]}`: [{row.title}](<{row.landing_page}>) by {row.creator}, "
            f"[CC BY 2.0](<https://creativecommons.org/licenses/by/2.0/>), from openverse, {row.date[:10]}"
        ) in page
    assert page.count("- `") == 3


def test_the_folder_and_the_manifest_are_data_as_they_are(pets, tmp_path, notes):
    pets.gather(["cat", "dog"], tmp_path / "pets", count=6)
    folder = keensight.open_dataset(tmp_path / "pets")
    listed = keensight.open_dataset(tmp_path / "pets" / "manifest.jsonl")
    assert folder.class_names == listed.class_names == ("cat", "dog")
    assert {(s.path, s.label, s.sha256) for s in folder.samples} == {
        (s.path, s.label, s.sha256) for s in listed.samples
    }
    notes.skipped(folder)
    assert all(note.startswith("Beside the pictures of pets: ATTRIBUTION.md") for note in notes.notes), notes.notes


def test_only_the_licences_that_are_wanted_are_fetched(pictures, tmp_path):
    licences = ["by", "by-nc", "cc0", "by-sa"]
    found = [{"url": f"https://pictures.example/{n}.jpg", "license": licences[n % 4]} for n in range(16)]
    pictures.on(SEARCH, {"results": found, "page_count": 1})
    done = pictures.gather(["cat"], tmp_path, licence="cc0,by")
    assert done.labels == {"cat": 8}
    assert {row.licence for row in read_manifest(done.manifest)} == {"by", "cc0"}
    assert {int(path[1:-4]) % 4 for path in pictures.paths("pictures.example")} == {0, 2}


def test_sources_and_queries_take_turns(pictures, tmp_path):
    pictures.results("cat", "kitten")
    observations = [
        {"id": 900 - n, "uri": "https://www.inaturalist.org/observations/1", "user": {"login": "jane"},
         "photos": [{"url": f"https://pictures.example/{5000 + n}/square.jpg", "license_code": "cc-by"}]}
        for n in range(9)
    ]  # fmt: skip
    pictures.on("https://api.inaturalist.org/v1/observations", {"results": observations})
    done = pictures.gather(["cat=cat,kitten"], tmp_path, count=8, source=["openverse", "inaturalist"])
    rows = read_manifest(done.manifest)
    assert Counter((row.source, row.query) for row in rows) == {
        ("openverse", "cat"): 2,
        ("inaturalist", "cat"): 2,
        ("openverse", "kitten"): 2,
        ("inaturalist", "kitten"): 2,
    }


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
def test_the_suffix_is_that_of_the_content(pictures, tmp_path, kind):
    pictures.results("cat", of=1)
    pictures.on(
        "https://pictures.example/", pictures.says(pictures.picture(1, kind=kind), 200, {"Content-Type": "text/html"})
    )
    pictures.gather(["cat"], tmp_path)
    (file,) = (tmp_path / "cat").iterdir()
    assert file.suffix == {"TIFF": ".tif"}.get(kind, f".{kind.lower()}")
    with Image.open(file) as image:
        assert image.format == kind


def test_a_file_of_addresses(pictures, tmp_path):
    (tmp_path / "list.txt").write_text(
        "# huskies\nhttps://pictures.example/1.jpg\nnothusky\thttps://pictures.example/2.jpg\n\n"
        '{"url": "https://pictures.example/3.jpg", "label": "husky", "licence": "CC BY 4.0", "creator": "Jane"}\n'
    )
    done = pictures.gather(["husky"], tmp_path / "out", urls=tmp_path / "list.txt")
    rows = {row.url[-5]: row for row in read_manifest(done.manifest)}
    assert {number: row.label for number, row in rows.items()} == {"1": "husky", "2": "nothusky", "3": "husky"}
    assert (rows["3"].creator, rows["3"].licence, rows["1"].licence) == ("Jane", "by", "unknown")
    assert "no licence known" in done.attribution.read_text()
    assert {each.host for each in pictures.asked} == {"pictures.example"}


def test_the_pictures_of_unsplash_are_reported_as_it_wants(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "uns-key")
    here = "https://api.unsplash.com/photos/{}/download?ixid=1"
    found = [
        {"urls": {"regular": f"https://pictures.example/{n}.jpg"}, "links": {"download_location": here.format(n)}}
        for n in range(3)
    ]
    found[2]["links"]["download_location"] = "https://evil.example/steal"
    pictures.on("https://api.unsplash.com/search/photos", {"results": found, "total_pages": 1})
    pictures.on("https://api.unsplash.com/photos/", {"url": "..."})
    pictures.on("https://evil.example/", b"{}")
    done = pictures.gather(["cat"], tmp_path, source=["unsplash"])
    assert done.labels == {"cat": 2}
    reports = [each for each in pictures.asked if each.path.endswith("/download")]
    assert sorted(each.path for each in reports) == ["/photos/0/download", "/photos/1/download"]
    assert {each.headers["Authorization"] for each in reports} == {"Client-ID uns-key"}
    assert pictures.paths("evil.example") == []
    assert not any("uns-key" in file.read_text() for file in tmp_path.glob("*.*"))


def test_a_search_that_ends_early_keeps_what_it_found(pets, tmp_path):
    original = pets.routes["api.openverse.org", "/v1/images/"]
    beyond = pets.says({"detail": "Authentication is required to retrieve results beyond page 1"}, 401)
    pets.on(SEARCH, lambda asked: original(asked) if asked.query["page"] == "1" else beyond)
    done = pets.gather(["cat", "dog"], tmp_path, count=30)
    assert done.labels == {"cat": 20, "dog": 20}
    assert any("beyond page 1" in note for note in done.notes)
    assert "fewer than wanted: cat has 20 of 30, dog has 20 of 30." in done.notes


def test_when_no_more_is_found_that_is_said(pictures, tmp_path):
    pictures.results("cat", of=7)
    done = pictures.gather(["cat"], tmp_path, count=30)
    assert done.notes == (
        "nothing more is found: cat has 7 of 30. Give more queries for a label, or another --source.",
    )


@pytest.mark.thorough
@pytest.mark.parametrize("data", ["pets", "pets/manifest.jsonl"])
def test_train_and_audit_take_the_folder_and_the_manifest(pets, tmp_path, data):
    pets.gather(["cat", "dog"], tmp_path / "pets", count=20)
    run = keensight.train(tmp_path / data, recipe="logistic", out=tmp_path / "run", set=["epochs=1"])
    assert keensight.predict(run.bundle, tmp_path / "pets" / "cat")[0].label in ("cat", "dog")
    assert keensight.audit(tmp_path / data, tmp_path / "audit").num_pictures == 40


def test_what_clean_confirms_is_confirmed_and_train_counts_the_rest(pets, tmp_path, notes):
    out = tmp_path / "pets"
    pets.gather(["cat", "dog"], out, count=4)
    rows = read_manifest(out / "manifest.jsonl")
    cats = [row for row in rows if row.label == "cat"]
    decisions = [
        {"sha256": cats[0].sha256, "action": "confirm"},
        {"sha256": cats[1].sha256, "action": "relabel", "label": "dog"},
        {"sha256": cats[2].sha256, "action": "drop"},
    ]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in decisions))
    keensight.clean(out, tmp_path / "decisions.jsonl")
    notes.found(keensight.open_dataset(out), "")
    assert any("5 of 7 labels are a search's guess" in note for note in notes.notes), notes.notes
    pets.asked.clear()
    pets.gather(["cat", "dog"], out, count=4)
    states = {row.sha256: (row.label, row.state) for row in read_manifest(out / "manifest.jsonl")}
    assert states[cats[0].sha256] == ("cat", "confirmed")
    assert states[cats[1].sha256] == ("dog", "confirmed")
    assert cats[2].sha256 not in states
    assert cats[3].sha256 in unconfirmed(out / "manifest.jsonl")
    assert len(pets.paths("pictures.example")) == 2  # for the two cats that are lacking
    assert keensight.open_dataset(out / "manifest.jsonl").class_names == ("cat", "dog")


def test_data_that_nobody_gathered_has_no_such_note(draw, tmp_path, notes):
    notes.found(keensight.open_dataset(draw(tmp_path, ["a", "b"], 3, 0)), "")
    assert len(notes.notes) == 1
