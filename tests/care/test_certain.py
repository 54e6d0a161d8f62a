import json

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.care.certain import certain
from keensight.care.copies import copies
from keensight.pipeline.watch import Watcher
from keensight.values import Dataset, Pixels, Preprocessing, Sample


def test_of_copies_one_stays_and_it_is_the_held_out_one(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), np.uint8)
    images[1] = images[4] = images[0]  # 0 and 1 in train, 4 in test
    images[5] = images[3]  # under two labels: for a person
    labels, splits = (0, 0, 0, 0, 0, 1), ("train", "train", "train", "train", "test", "train")
    hashes = ("a", "a", "c", "d", "other bytes", "d")
    samples = tuple(Sample(str(i), labels[i], hashes[i], splits[i]) for i in range(6))
    dataset = Dataset("pets", tmp_path, "folder", ("cat", "dog"), samples)
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"{i}", "PNG")
    pixels = Pixels(dataset, Preprocessing(8, 8, 3), images, np.arange(6))
    found = certain(dataset, copies(pixels), "me")
    assert [(each.file, each.action, each.why) for each in found] == [
        ("0", "drop", "the same pixels as 4"),
        ("1", "drop", "the same pixels as 4"),
    ]


@pytest.fixture
def pets(photos, tmp_path):
    """Photographs; one of them also with another pixel, which no model would see, and one saved again."""
    root = tmp_path / "home" / "pets"
    for i, photo in enumerate(photos[:8]):
        home = root / "ab"[i % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).resize((256, 256)).save(home / f"{i}.png")
    image = np.array(Image.open(root / "a/0.png"))
    image[100, 100] ^= 4
    Image.fromarray(image).save(root / "a/other.png")
    Image.open(root / "a/2.png").save(root / "a/again.bmp")
    return root


class Told(Watcher):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_what_is_the_same_only_when_small_is_left_for_a_person(pets):
    told = Told()
    done = keensight.clean(pets, auto=True, watcher=told)
    assert [(each.file, each.why) for each in done.decisions] == [("a/again.bmp", "the same pixels as a/2.png")]
    assert any("1 pair is left for you" in note and "a/0.png = a/other.png" in note for note in told.notes)
    assert (pets / "a/other.png").exists() and (pets / "a/0.png").exists()


def test_an_audit_that_calls_other_pictures_the_same_drops_none_of_them(pets, tmp_path):
    """audit.json may come from elsewhere: whatever it says, the files at hand are compared."""
    file = keensight.audit(pets, tmp_path / "audit").out / "audit.json"
    facts = json.loads(file.read_text())
    pairs = [["a/4.png", "a/6.png"], ["a/0.png", "a/other.png"]]
    facts["findings"].append({"evidence": {"by": "pixels", "pairs": pairs}})
    facts["sha256"] |= {sample.path: sample.sha256 for sample in keensight.open_dataset(pets).samples}
    file.write_text(json.dumps(facts))
    told = Told()
    assert [each.file for each in keensight.clean(pets, file, auto=True, watcher=told).decisions] == ["a/again.bmp"]
    assert any("2 pairs are left for you" in note for note in told.notes)
