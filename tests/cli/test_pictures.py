"""`keensight predict` takes any picture from disk, and finds digits on paper though it learnt them light on dark."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from keensight.cli import main
from keensight.values import NONE_OF_THESE

INVERTED = "inverted"
DIGITS, TRUTH = load_digits().images, load_digits().target


@pytest.fixture
def ask(warm, digits):
    """Ask the model of the digits for files; return their answers by file name."""

    def predict(*files: Path) -> dict[str, dict]:
        done = warm("predict", digits, *files, "--json")
        assert done.status == 0, done.err
        assert done.remarks == []
        answers = [json.loads(line) for line in done.out.splitlines()]
        assert [answer["file"] for answer in answers] == list(map(str, files))
        return {Path(answer["file"]).name: answer for answer in answers}

    return predict


def held_out(run: Path) -> list[int]:
    """Return the rows of scikit-learn's digits that a run held out for its test."""
    lines = map(json.loads, (run / "splits.jsonl").read_text().splitlines())
    return [int(line["file"][len("images[") : -1]) for line in lines if line["split"] == "test"]


def drawing(row: int, side: int = 128) -> Image.Image:
    """Return a digit as a light drawing on dark ground, `side` pixels wide and high."""
    levels = np.round(DIGITS[row] * 255 / 16).astype(np.uint8)
    return Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def seven(digits) -> Image.Image:
    """A drawing that the model has not seen."""
    return drawing(next(row for row in held_out(digits) if TRUTH[row] == 7))


def animated(picture: Image.Image, path: Path) -> None:
    other = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8))
    picture.save(path, save_all=True, append_images=[other, other], duration=50)


def rotated(picture: Image.Image, path: Path) -> None:
    """Save it lying on its side, with the EXIF tag that says so, as a phone does."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def sixteen_bits(picture: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path)


def palette(picture: Image.Image, path: Path) -> None:
    """Save it in 16 colours, with one that it does not use transparent."""
    quantised = picture.convert("RGB").quantize(15)
    quantised.save(path, transparency=255)


WAYS: dict[str, Callable[[Image.Image, Path], None]] = {
    "grey.png": lambda p, path: p.save(path),
    "grey.jpg": lambda p, path: p.save(path, quality=95),
    "colour.jpg": lambda p, path: p.convert("RGB").save(path, quality=95),
    "colour.webp": lambda p, path: p.convert("RGB").save(path, quality=95),
    "colour.bmp": lambda p, path: p.convert("RGB").save(path),
    "grey.pgm": lambda p, path: p.save(path),
    "colour.tif": lambda p, path: p.convert("RGB").save(path),
    "exif.jpg": rotated,
    "rgba.png": lambda p, path: p.convert("RGBA").save(path),
    "la.png": lambda p, path: p.convert("LA").save(path),
    "palette.png": palette,
    "palette.gif": lambda p, path: p.convert("P").save(path),
    "cmyk.jpg": lambda p, path: p.convert("RGB").convert("CMYK").save(path, quality=95),
    "sixteen.png": sixteen_bits,
    "animated.gif": animated,
    "animated.webp": animated,
    "größe 七 🐶.png": lambda p, path: p.save(path),
    "no-suffix": lambda p, path: p.save(path, format="PNG"),
    "says-jpg.jpg": lambda p, path: p.save(path, format="PNG"),
}


def test_one_digit_saved_in_every_way(ask, seven, tmp_path):
    for name, save in WAYS.items():
        save(seven, tmp_path / name)
    answers = ask(*(tmp_path / name for name in WAYS))
    plain = np.array(list(answers["grey.png"]["probabilities"].values()))
    assert answers["grey.png"]["label"] == "7"
    for name, answer in answers.items():
        assert answer["label"] == "7", name
        assert answer["notes"] == [], name
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["probability"] == max(answer["probabilities"].values())
        lossy = Path(name).suffix in (".jpg", ".webp") or name == "palette.gif"
        assert list(answer["probabilities"].values()) == pytest.approx(plain, abs=0.1 if lossy else 0.02), name


def test_transparency_is_laid_on_white(ask, seven, tmp_path):
    """Dark ink on nothing, as drawing programs save it, is a drawing on white paper."""
    ink = Image.new("RGBA", seven.size, (0, 0, 0, 0))
    ink.putalpha(seven)
    ink.save(tmp_path / "ink.png")
    ink.quantize(64).save(tmp_path / "palette.png")
    la = Image.merge("LA", (Image.new("L", seven.size, 0), seven))
    la.save(tmp_path / "la.png")
    for name, answer in ask(*(tmp_path / name for name in ("ink.png", "palette.png", "la.png"))).items():
        assert answer["label"] == "7", name
        assert INVERTED in answer["notes"][0], name


def test_exif_orientation_is_not_ignored(ask, seven, tmp_path):
    """The same bytes without the tag are another picture."""
    rotated(seven, tmp_path / "tagged.jpg")
    seven.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "untagged.jpg", quality=95)
    answers = ask(tmp_path / "tagged.jpg", tmp_path / "untagged.jpg")
    assert answers["tagged.jpg"]["label"] == "7"
    assert answers["tagged.jpg"]["probabilities"] != answers["untagged.jpg"]["probabilities"]


def test_odd_shapes(ask, tmp_path):
    sizes = {"dot.png": (1, 1), "line.png": (3000, 10), "pole.jpg": (10, 3000), "column.png": (1, 500)}
    for name, size in sizes.items():
        Image.new("RGB", size, (3, 4, 5)).save(tmp_path / name)
    for answer in ask(*(tmp_path / name for name in sizes)).values():
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_many_pictures_keep_their_order(ask, digits, tmp_path):
    """More than are decoded at a time, and each answer is the one that it gets alone."""
    files = []
    for row in held_out(digits)[:70]:
        files.append(tmp_path / f"{row}.png")
        drawing(row, 8).save(files[-1])
    together = ask(*files)
    for file in (files[0], files[33], files[69]):
        alone = ask(file)[file.name]
        assert alone["label"] == together[file.name]["label"]
        assert alone["probability"] == pytest.approx(together[file.name]["probability"], abs=1e-5)


def test_drawings_on_paper_are_inverted(ask, digits, tmp_path):
    """Ink on white gets the label of light on dark; pencil on a greyish photo is read as well as that."""
    rows = [row for digit in range(10) for row in [r for r in held_out(digits) if TRUTH[r] == digit][:6]]
    papers = {
        "dark": lambda levels: levels,
        "white": lambda levels: 255 - levels,
        "photo": lambda levels: 215 - levels * (165 / 255),
    }
    for row in rows:
        levels = np.asarray(drawing(row)).astype(np.float64)
        for name, look in papers.items():
            Image.fromarray(np.round(look(levels)).astype(np.uint8)).save(tmp_path / f"{name}-{row}.png")
    answers = ask(*(tmp_path / f"{name}-{row}.png" for row in rows for name in papers))
    right = dict.fromkeys(papers, 0)
    for row in rows:
        dark, white, photo = (answers[f"{name}-{row}.png"] for name in papers)
        assert dark["notes"] == []
        assert white["label"] == dark["label"]
        assert INVERTED in white["notes"][0]
        assert INVERTED in photo["notes"][0]
        for name in papers:
            right[name] += answers[f"{name}-{row}.png"]["label"] == str(TRUTH[row])
    assert right["dark"] >= 50
    assert right["photo"] >= right["dark"] - 3


def test_the_text_says_inverted(warm, digits, seven, tmp_path):
    Image.eval(seven, lambda level: 255 - level).save(tmp_path / "paper.png")
    done = warm("predict", digits, tmp_path / "paper.png")
    assert done.status == 0
    assert "7 (" in done.out or "(the nearest is 7)" in done.out
    assert "(was inverted, because " in done.out


def test_digits_themselves_are_never_inverted(ask, tmp_path):
    for row in range(0, 1797, 6):
        drawing(row, 8).save(tmp_path / f"{row}.png")
    answers = ask(*sorted(tmp_path.iterdir()))
    assert len(answers) == 300
    assert all(answer["notes"] == [] for answer in answers.values())


def test_a_rare_light_class_is_never_inverted(warm, tmp_path):
    """Most training pictures are dark, and the few light ones are light for a reason."""
    rng = np.random.default_rng(0)
    kinds = {"night": (600, 0, 60), "day": (5, 190, 250)}
    for kind, (count, low, high) in kinds.items():
        (tmp_path / "in" / kind).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(low, high, (8, 8), np.uint8)).save(tmp_path / "in" / kind / f"{i}.png")
    run = tmp_path / "run"
    done = warm("train", tmp_path / "in", "--out", run, "--set", "model=dense", "--set", "epochs=5", "--json")
    assert done.json()["metrics"]["test"]["accuracy"] == 1
    done = warm("predict", run, tmp_path / "in" / "day", "--json")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["notes"] for answer in answers] == [[]] * 5
    assert [answer["label"] for answer in answers] == ["day"] * 5


def test_a_file_name_that_is_no_text_is_answered_for_in_valid_json(digits, tmp_path, monkeypatch):
    """Also where stdout is strict, as it is in any locale but C."""
    file = tmp_path / "b\udcff.png"
    Image.new("L", (8, 8)).save(file)
    raw = io.BytesIO()
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as it is here: nothing is set for this process
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8", errors="strict"))
    with pytest.raises(SystemExit) as end:
        main(["predict", str(digits), str(file), "--json"])
    assert end.value.code == 0
    assert json.loads(raw.getvalue().decode())["file"] == str(file)


def test_answers_are_written_sorted_and_copied(warm, digits, pictures, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(pictures / "lying", folder)
    (folder / "=1.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    out, into = tmp_path / "a.csv", tmp_path / "sorted"
    done = warm("predict", digits, folder, "--out", out, "--sort-into", into, "--least-sure-first", "--json")
    assert done.status == 1 and "broken.png cannot be used" in done.err, done.err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    answers = [json.loads(line) for line in done.out.splitlines()]
    order = [(not each["abstained"], each["probability"]) for each in answers]
    assert order == sorted(order) and len(answers) == len(before) - 1
    with open(out, newline="") as opened:
        first, *rows = list(csv.DictReader(opened))
    assert first["error"] and [row["file"] for row in rows] == [each["file"] for each in answers]
    copies = sorted(file.read_bytes() for file in into.rglob("*.png"))
    assert copies == sorted(content for name, content in before.items() if name != "broken.png")
    for each in answers:
        odd = NONE_OF_THESE in each["reasons"]
        home = "none of these" if odd else "not sure" if each["abstained"] else each["label"]
        assert (into / home / Path(each["file"]).name).exists()
    done = warm("predict", digits, folder, "--out", out)
    assert done.status == 2 and "nothing is overwritten" in done.err
