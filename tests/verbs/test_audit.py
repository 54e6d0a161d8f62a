import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import keensight
from keensight.errors import RunError
from keensight.pages.findings import sentence


@pytest.fixture
def folder(tmp_path):
    """Twelve tiles of a photograph in two classes, and the mirror image of one under the other label."""
    image, root = load_sample_images().images[0], tmp_path / "data"
    for i in range(12):
        home = root / "ab"[i % 2]
        home.mkdir(parents=True, exist_ok=True)
        top, left = i // 4 * 80, i % 4 * 80
        Image.fromarray(image[top : top + 80, left : left + 80]).save(home / f"{i}.png")
    Image.open(root / "a/0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "b/mirror.png")
    return root


def test_a_planted_fault_is_found_told_and_shown(folder, tmp_path):
    found = keensight.audit(folder, tmp_path / "out")
    assert [each.kind for each in found.findings] == ["label"]
    assert set(found.findings[0].samples) == {"a/0.png", "b/mirror.png"}
    facts = json.loads((found.out / "audit.json").read_text())
    assert (facts["data"], facts["pictures"], len(facts["findings"])) == (str(folder), 13, 1)
    page = found.page.read_text()
    assert len(re.findall('<img src="data:image/', page)) == 2
    assert "mirrored" in page and "b/mirror.png" in page and "99&#8239;% sure" in page
    assert sorted(path.name for path in found.out.iterdir()) == ["audit.html", "audit.json"]


@pytest.mark.parametrize("form", ["zip", "csv", "idx"])
def test_every_form_of_data(folder, tmp_path, form):
    if form == "zip":
        data = shutil.make_archive(str(tmp_path / "pictures"), "zip", folder)
    elif form == "csv":
        data = tmp_path / "pictures.csv"
        lines = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in sorted(folder.rglob("*.png"))]
        data.write_text("file,label\n" + "\n".join(lines))
    else:
        data = tmp_path / "idx"
        data.mkdir()
        images = np.random.default_rng(0).integers(0, 255, (12, 28, 28), np.uint8)
        images[7] = images[2]
        labels = np.arange(12, dtype=np.uint8) % 2
        (data / "train-images-idx3-ubyte").write_bytes(np.array([2051, 12, 28, 28], ">u4").tobytes() + images.tobytes())
        (data / "train-labels-idx1-ubyte").write_bytes(np.array([2049, 12], ">u4").tobytes() + labels.tobytes())
    found = keensight.audit(data, tmp_path / "out")
    assert "twice" in sentence(found.findings[0])
    assert found.findings[0].kind == "label"
    assert found.page.read_text().count("<img ") == 2


def test_clean_data_give_no_finding_and_a_page_that_says_so(folder, tmp_path):
    (folder / "b/mirror.png").unlink()
    found = keensight.audit(folder, tmp_path / "out")
    assert found.findings == ()
    assert "Nothing was found in 12 pictures" in found.page.read_text()


def test_names_are_escaped_and_a_folder_in_use_is_refused(folder, tmp_path):
    (folder / "b/mirror.png").rename(folder / "b/<b>&.png")
    found = keensight.audit(folder, tmp_path / "out")
    assert "&lt;b&gt;&amp;.png" in found.page.read_text() and "<b>&.png" not in found.page.read_text()
    with pytest.raises(RunError, match="finished audit"):
        keensight.audit(folder, tmp_path / "out")


def test_pictures_are_not_changed(folder, tmp_path):
    before = {file: file.read_bytes() for file in folder.rglob("*.png")}
    keensight.audit(folder, tmp_path / "out")
    assert {file: file.read_bytes() for file in folder.rglob("*.png")} == before
