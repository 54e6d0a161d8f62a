import json

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image
from sklearn.datasets import load_digits

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import DataError, PictureError, RunError
from keensight.explanation.occlusion import occlusion, peak


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """Three digits that the model has not seen, the last one as ink on paper."""
    folder = tmp_path_factory.mktemp("digits")
    lines = map(json.loads, (trained.folder / "splits.jsonl").read_text().splitlines())
    rows = [int(line["file"][len("images[") : -1]) for line in lines if line["split"] == "test"][:3]
    for i, row in enumerate(rows):
        levels = np.round(load_digits().images[row] * 255 / 16).astype(np.uint8)
        Image.fromarray(255 - levels if i == 2 else levels).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_answers_are_those_of_predict(trained, files, here):
    found = keensight.explain(trained.bundle, files[0].parent, here / "why")
    assert [each.prediction for each in found.pictures] == keensight.predict(trained.bundle, files)
    assert (found.bundle, found.out, found.refused) == (trained.bundle, here / "why", ())
    assert found.page == here / "why" / "explanation.html"
    assert [path.name for path in found.out.iterdir()] == ["explanation.html"]


def test_the_evidence_is_that_of_the_shipped_model_for_the_answer(trained, files, here):
    found = keensight.explain(trained.bundle, files)
    predictor = keensight.load(trained.bundle)
    for each, file in zip(found.pictures, files, strict=True):
        picture = np.asarray(Image.open(file))[..., None]
        seen = 255 - picture if file.name == "2.png" else picture
        k = int(each.prediction.label)
        drop = occlusion(lambda images: predictor.probabilities(images)[0], seen, k)
        expected = peak(drop)
        assert (each.evidence.x, each.evidence.y) == (expected.x, expected.y)
        assert each.evidence.drop == pytest.approx(expected.drop, rel=0.1)  # ink on paper is stretched a little, too
    assert any("inverted" in note for note in found.pictures[2].prediction.notes)


def test_the_page_shows_every_picture_and_every_layer(trained, files, here):
    html = keensight.explain(trained.bundle, files).page.read_text()
    model = network_of(read_bundle(trained.bundle))
    convolutions = sum(type(module).__name__ == "Conv2d" for module in model.modules())
    assert html.count("The picture as the model sees it.") == 3
    assert html.count(f"Convolution {convolutions} of {convolutions}") == 6  # in its caption, and for who cannot see it
    assert html.count("filters, strongest first, of the first convolution, 3 × 3 each") == 1
    assert trained.folder.name in html


def test_without_a_folder_it_takes_the_first_free_name(trained, files, here):
    pages = [keensight.explain(trained.folder, files[0]).page for _ in range(2)]
    name = trained.folder.name
    assert [str(page) for page in pages] == [
        f"explanations/{name}/explanation.html",
        f"explanations/{name}-2/explanation.html",
    ]


def test_nothing_is_overwritten(trained, files, here):
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("keep me")
    with pytest.raises(
        RunError, match="is not empty. Choose a new or empty folder with --out, so that nothing is lost"
    ):
        keensight.explain(trained.bundle, files, here / "full")
    assert (here / "full" / "mine.txt").read_text() == "keep me"
    assert [path.name for path in (here / "full").iterdir()] == ["mine.txt"]
    keensight.explain(trained.bundle, files[0], here / "why")
    with pytest.raises(RunError, match="holds a finished explanation already. Choose another folder with --out"):
        keensight.explain(trained.bundle, files[0], here / "why")
    (here / "empty").mkdir()
    assert keensight.explain(trained.bundle, files[0], here / "empty").page.exists()


def test_bad_pictures_are_named_and_the_others_go_on(trained, files, here):
    (here / "text.png").write_text("I am no picture.")
    found = keensight.explain(trained.bundle, [files[0], here / "text.png", here / "gone.png", files[1]])
    assert [each.prediction.file for each in found.pictures] == [str(files[0]), str(files[1])]
    assert [file.name for file, _ in found.refused] == ["text.png", "gone.png"]
    assert "not a picture" in str(found.refused[0][1])
    html = found.page.read_text()
    assert "4 pictures, 2 answered; 2 cannot be used." in html
    for file, reason in found.refused:
        assert f"<bdi>{file}</bdi>: {escape(str(reason))}" in html


def test_where_none_can_be_used_nothing_is_left(trained, here):
    (here / "text.png").write_text("I am no picture.")
    with pytest.raises(PictureError, match=r"text.png cannot be used: .* \S+gone.png cannot be used: .* leave it out"):
        keensight.explain(trained.bundle, [here / "text.png", here / "gone.png"])
    with pytest.raises(PictureError):
        keensight.explain(trained.bundle, here / "text.png", here / "new" / "why")
    assert [path.name for path in here.iterdir()] == ["text.png"]


def test_too_many_pictures_or_none_are_refused(trained, files, here):
    with pytest.raises(
        DataError, match="More than 100 pictures were given. A page explains up to 100: name those that matter"
    ):
        keensight.explain(trained.bundle, [files[0]] * 101)
    with pytest.raises(DataError, match="No picture was given. Give picture files, or folders of them; name at least"):
        keensight.explain(trained.bundle, [])
    assert list(here.iterdir()) == []
