import numpy as np
from PIL import Image

from keensight import open_dataset
from keensight.care.scaling import scaling
from keensight.data.scaling import SIDES_PX
from keensight.pages.findings import sentence


def test_a_hidden_picture_is_found_and_no_other(photos, tmp_path):
    for i, photo in enumerate(photos[12:24]):
        home = tmp_path / "ab"[i % 2]
        home.mkdir(exist_ok=True)
        large = np.array(Image.fromarray(photo).resize((240, 250)))
        if i == 4:
            rows, columns = (np.arange(64) * length // 64 for length in large.shape[:2])
            large[np.ix_(rows, columns)] = np.asarray(Image.fromarray(photos[40]).resize((64, 64)))
        Image.fromarray(large).save(home / f"{i}.png")
    assert 64 in SIDES_PX
    (found,) = scaling(open_dataset(tmp_path))
    assert found.kind == "scaling" and found.samples == ("a/4.png",)
    assert "nearest, from the edge, to 64 pixels" in found.evidence["says"][0]
    assert sentence(found).startswith("1 picture shows something else")


def test_arrays_are_as_small_as_they_are():
    assert list(scaling(open_dataset("digits"))) == []
