"""Bad input: the right exit status, one clear paragraph on stderr, and nothing left behind."""

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keensight.cached import USERS

QUICK = ("--set", "epochs=1", "--set", "model=logistic")


def png(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.full((12, 12), 90, np.uint8)
    levels[level % 12, :] = level
    Image.fromarray(levels).save(path)
    return path


def fill(folder: Path, count: int, start: int = 0) -> Path:
    for i in range(count):
        png(folder / f"{i}.png", start + i)
    return folder


def good(root: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for k, name in enumerate(classes):
        fill(root / name, 8, 10 * k)
    return root


def huge_header(path: Path, side: int = 60_000) -> Path:
    """Write a PNG of a few bytes whose header promises `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def text_named_jpg(path: Path) -> None:
    path.write_text("I am no picture.\n" * 20)


def truncated_jpeg(path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(content, "JPEG")
    path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def sixty_thousand(path: Path) -> None:
    huge_header(path)


def ten_thousand(path: Path) -> None:
    huge_header(path, 10_000)  # above our limit, and in the range where Pillow only warns


def link_out(path: Path) -> None:
    outside = png(path.parents[3] / "outside" / "secret.png")
    path.symlink_to(outside)


BAD_FILES = {
    "text named .jpg": (text_named_jpg, "a.jpg", "not a picture"),
    "truncated jpeg": (truncated_jpeg, "b.jpg", "cut short"),
    "zero bytes": (zero_bytes, "c.png", "0 bytes"),
    "60,000 x 60,000": (sixty_thousand, "d.png", "megapixels"),
    "10,000 x 10,000": (ten_thousand, "e.png", "megapixels"),
    "symlink out of the folder": (link_out, "f.png", "leads out of the folder"),
}


@pytest.fixture
def refused(warm, tmp_path, own_cache):
    """Train on something that must be refused; return the paragraph, after a look for remains."""
    here = tmp_path / "here"
    here.mkdir()

    def run(data: object, *words: object, environment: dict[str, str] | None = None) -> str:
        before = sorted(tmp_path.rglob("*"))
        for out in ((), ("--out", tmp_path / "new" / "run")):
            done = warm("train", data, *out, *words, cwd=here, **environment or {})
            assert done.out == ""
            said = done.refusal()
            assert said.count(". ") >= 1 or said.count("; ") >= 1, "it says what came, but not what to do"
            assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        left = [path for path in own_cache.rglob(".*") if path.name != ".in-use"]  # that one says who reads what
        assert not left, "temporary files were left in the cache"
        return said

    return run


def test_missing_path(refused, tmp_path):
    good(tmp_path / "pictures")
    said = refused(tmp_path / "picture")
    assert "does not exist" in said
    assert "Did you mean 'pictures'?" in said
    assert "DATA may be a folder" in said


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    said = refused(tmp_path / "empty")
    assert "holds no pictures" in said
    assert ".png" in said
    assert "one folder of pictures per class" in said


def test_one_class_only(refused, tmp_path):
    fill(tmp_path / "pictures" / "cat", 8)
    said = refused(tmp_path / "pictures")
    assert "only one class ('cat')" in said
    assert "two classes or more" in said
    assert "add pictures" in said


def test_a_class_with_one_picture(refused, tmp_path):
    good(tmp_path / "pictures")
    png(tmp_path / "pictures" / "emu" / "0.png", 99)
    said = refused(tmp_path / "pictures")
    assert "'emu' (1)" in said
    assert "at least three" in said
    assert "leave such classes out, with --set skip_rare=true" in said


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_class_of_one_bad_file(refused, tmp_path, kind):
    write, name, reason = BAD_FILES[kind]
    good(tmp_path / "pictures")
    (tmp_path / "pictures" / "emu").mkdir()
    write(tmp_path / "pictures" / "emu" / name)
    said = refused(tmp_path / "pictures")
    assert "emu" in said
    assert f"emu/{name}" in said
    assert reason in said
    assert "eplace" in said


def test_bad_files_among_good_ones(warm, tmp_path):
    """They are named, counted and skipped; the report lists them; the rest is learnt."""
    pictures = good(tmp_path / "in" / "pictures")
    for write, name, _ in BAD_FILES.values():
        write(pictures / "cat" / name)
    done = warm("train", pictures, "--out", tmp_path / "run", "--json", *QUICK)
    assert done.json()["skipped"] == len(BAD_FILES)
    found, note = done.err.splitlines()
    assert found.startswith("note: 2 classes: ")
    assert note.startswith(f"note: Left out {len(BAD_FILES)} of what ")
    assert note.endswith("all are listed in the report.")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    listed = {skipped["path"]: skipped["reason"] for skipped in report["data"]["skipped"]}
    for _, name, reason in BAD_FILES.values():
        assert reason in listed[f"cat/{name}"]
    html = (tmp_path / "run" / "report.html").read_text()
    assert all(f"cat/{name}" in html for _, name, _ in BAD_FILES.values())
    assert sum(report["data"]["counts"][split]["cat"] for split in ("train", "val", "test")) == 8


def test_zip_slip(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        for i in range(4):
            archive.write(png(tmp_path / "p" / f"{i}.png", i), f"cat/{i}.png")
        archive.write(png(tmp_path / "p" / "x.png"), "../../evil.png")
    said = refused(tmp_path / "slip.zip")
    assert "zip slip" in said
    assert "../../evil.png" in said
    assert "source you trust" in said
    assert not list(tmp_path.parent.rglob("evil.png"))


def test_zip_bomb(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("cat/0.png", "dog/0.png"):
            archive.writestr(name, bytes(10**6))
    content = bytearray((tmp_path / "bomb.zip").read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:  # the central directory promises 3 GiB a member
        content[at + 24 : at + 28] = struct.pack("<I", 3 * 2**30)
        at = content.find(b"PK\x01\x02", at + 4)
    (tmp_path / "bomb.zip").write_bytes(content)
    said = refused(tmp_path / "bomb.zip")
    assert "zip bomb" in said
    assert "accepted" in said
    assert "unpack it" in said


def manifest(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("file", "label")) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_manifest_row_without_a_file(refused, tmp_path):
    good(tmp_path)
    rows = [(f"{name}/{i}.png", name) for name in ("cat", "dog") for i in range(8)]
    said = refused(manifest(tmp_path / "rows.csv", [*rows, ("cat/99.png", "cat")]))
    assert "cat/99.png (line 18)" in said
    assert "relative to the manifest's folder" in said
    assert "Correct the paths" in said
    said = refused(manifest(tmp_path / "rows.csv", [*rows, ("", "cat")]))
    assert "Line 18" in said
    assert "has no file" in said
    assert "remove the row" in said


def test_unknown_label_in_a_split(refused, tmp_path):
    for split in ("train", "test"):
        good(tmp_path / "pictures" / split)
    fill(tmp_path / "pictures" / "test" / "dogg", 3)
    said = refused(tmp_path / "pictures")
    assert "unknown label dogg" in said
    assert "Did you mean 'dog'?" in said
    assert "rename the class" in said


def test_unknown_label_to_a_bundle(warm, digits, tmp_path):
    good(tmp_path / "pictures", ("3", "seven"))
    said = warm("evaluate", digits, tmp_path / "pictures").refusal()
    assert "unknown label seven" in said
    assert "the model knows 0, 1, 2" in said
    assert "rename" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_an_npz(refused, tmp_path, value):
    images = np.random.default_rng(0).random((20, 8, 8)).astype(np.float32)
    images[3, 2, 1] = value
    np.savez(tmp_path / "some.npz", images=images, labels=np.arange(20) % 2)
    said = refused(tmp_path / "some.npz")
    assert "NaN or infinite" in said
    assert "floats from 0 to 1" in said
    assert "nan_to_num" in said


@pytest.mark.parametrize(
    ("words", "keywords"),
    [
        (["--recipe", "defalt"], ["no recipe 'defalt'", "Did you mean 'default'?", "dense", "logistic", ".toml"]),
        (["--recipe", "absent.toml"], ["no recipe file absent.toml", "Check the path", "default"]),
        (["--set", "learning_rat=0.1"], ["no key 'learning_rat'", "Did you mean 'learning_rate'?", "[train]"]),
        (["--set", "model=cn"], ["no model 'cn'", "Did you mean 'cnn'?", "logistic"]),
        (["--set", "optimizer=adm"], ["optimizer is 'adm'", "Did you mean 'adam'?", "sgd"]),
        (["--set", "schedule=one-cycl"], ["schedule is 'one-cycl'", "Did you mean 'one-cycle'?", "constant"]),
        (["--set", "epochs=many"], ["epochs is 'many'", "whole number"]),
        (["--set", "epochs=-1"], ["epochs is -1", "between 0 and"]),
        (["--set", "learning_rate=nan"], ["learning_rate is nan", "between"]),
        (["--set", "epochs"], ["--set epochs has no value", "KEY=VALUE"]),
        (["--set", "hidden=[8]"], ["no key 'hidden'", "filters, dropout"]),
        (["--seed", "-1"], ["seed is -1", "between 0 and"]),
    ],
)
def test_recipes_keys_and_values(refused, words, keywords):
    said = refused("digits", *words)
    for keyword in keywords:
        assert keyword in said


def test_out_is_a_file_or_full(warm, tmp_path):
    pictures = good(tmp_path / "pictures")
    (tmp_path / "file").write_text("mine")
    assert "A file has that name" in warm("train", pictures, "--out", tmp_path / "file").refusal()
    assert "parents are folders" in warm("train", pictures, "--out", tmp_path / "file" / "run").refusal()
    assert (tmp_path / "file").read_text() == "mine"
    said = warm("train", pictures, "--out", pictures).refusal()
    assert "is not empty" in said
    assert "nothing is lost" in said
    assert len(list(pictures.rglob("*.png"))) == 16


@pytest.mark.parametrize("existing", [True, False])
def test_read_only_output_folder(warm, small_disk, tmp_path, existing):
    disk = small_disk("ro,size=1m")
    said = warm("train", good(tmp_path / "pictures"), "--out", disk if existing else disk / "run", *QUICK).refusal()
    assert f"Cannot write {disk}" in said
    assert "read-only" in said
    assert "Choose a folder that can be written" in said
    assert list(disk.iterdir()) == []


def test_read_only_working_folder(warm, small_disk, tmp_path):
    disk = small_disk("ro,size=1m")
    said = warm("train", good(tmp_path / "pictures"), *QUICK, cwd=disk).refusal()
    assert "Cannot write runs" in said
    assert "read-only" in said


def test_full_disk_for_the_run(warm, small_disk, tmp_path):
    """The first checkpoint does not fit: nothing stays."""
    disk = small_disk("size=64k")
    said = warm("train", good(tmp_path / "pictures"), "--out", disk / "run", "--set", "epochs=1").refusal()
    assert f"Cannot write {disk / 'run'}" in said
    assert "disk is full" in said
    assert "Free some space" in said
    assert list(disk.iterdir()) == []


def test_disk_that_fills_up_after_training(warm, small_disk, tmp_path):
    """The checkpoints fit and the bundle does not: with more space, --resume finishes without training again."""
    pictures = good(tmp_path / "pictures")
    disk = small_disk("size=100k")
    said = warm("train", pictures, "--out", disk / "run", *QUICK).refusal()
    assert "disk is full" in said
    assert "Free some space" in said
    left = {path.name for path in (disk / "run").iterdir()}
    assert {"recipe.toml", "splits.jsonl", "history.jsonl", "last.safetensors", "best.safetensors"} <= left
    assert not {name for name in left if name.startswith(".")}
    assert "bundle" not in left
    before = (disk / "run" / "last.safetensors").read_bytes()
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert warm("train", pictures, "--out", disk / "run", "--resume", "--json").json()["epochs"] == 1
    assert (disk / "run" / "last.safetensors").read_bytes() == before


def test_full_disk_for_the_cache(warm, small_disk, tmp_path):
    disk = small_disk("size=32k")
    pictures = good(tmp_path / "pictures")
    words = ("train", pictures, "--out", tmp_path / "run", "--set", "size=128")
    said = warm(*words, KEENSIGHT_CACHE=str(disk / "cache")).refusal()
    assert f"Cannot write {disk}" in said
    assert "disk is full" in said
    assert "KEENSIGHT_CACHE" in said
    assert not (tmp_path / "run").exists()
    left = [path for path in disk.rglob("*") if path.is_file() and path.parent.name != USERS]
    assert [path for path in left if path.suffix != ".json"] == []
    assert list(disk.rglob(".filling*")) == []


def test_read_only_cache(warm, small_disk, tmp_path):
    disk = small_disk("ro,size=1m")
    pictures = good(tmp_path / "pictures")
    said = warm("train", pictures, "--out", tmp_path / "run", KEENSIGHT_CACHE=str(disk / "cache")).refusal()
    assert "read-only" in said
    assert "KEENSIGHT_CACHE" in said
    assert not (tmp_path / "run").exists()


def test_full_stdout(warm, digits):
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is missing")
    done = warm.start("info", digits, "--json", out=Path("/dev/full")).wait()
    assert "output cannot be written: no space left on device" in done.refusal()


# --- predict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in BAD_FILES if "symlink" not in kind])
def test_predict_of_a_bad_file(warm, digits, tmp_path, kind):
    write, name, reason = BAD_FILES[kind]
    write(tmp_path / name)
    done = warm("predict", digits, tmp_path / name, "--json")
    assert done.out == ""
    said = done.refusal()
    assert said.startswith(f"{tmp_path / name} cannot be used: ")
    assert reason in said
    assert "replace it" in said


def test_predict_answers_for_the_good_ones(warm, digits, tmp_path):
    first, last = png(tmp_path / "first.png", 200), png(tmp_path / "last.png", 90)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.png")
    bad = [tmp_path / "absent.png", tmp_path / "empty", tmp_path / "notes.txt", tmp_path / "pipe.png", "/dev/zero"]
    done = warm("predict", digits, first, *bad, last, "--json")
    assert done.status == 1
    assert [json.loads(line)["file"] for line in done.out.splitlines()] == [str(first), str(last)]
    for line, file, reason in zip(
        done.remarks,
        bad,
        ["no such file", "folder without pictures", "not a picture", "not a file", "not a file"],
        strict=True,
    ):
        assert line.startswith(f"keensight: {file} cannot be used: ")
        assert reason in line


def test_predict_of_a_folder(warm, digits, tmp_path):
    fill(tmp_path / "pictures" / "deep", 3)
    (tmp_path / "pictures" / "readme.txt").write_text("passed over")
    done = warm("predict", digits, tmp_path / "pictures", "--json")
    assert done.status == 0
    said = f"note: Beside the pictures of {tmp_path / 'pictures'}: readme.txt."
    assert said in done.err.splitlines()
    files = [json.loads(line)["file"] for line in done.out.splitlines()]
    assert files == [str(tmp_path / "pictures" / "deep" / f"{i}.png") for i in range(3)]


def test_names_reach_a_terminal_as_text_and_json_as_they_are(warm, digits, tmp_path):
    names = ["\x1b[31mred.png", "\u202egnp.png", "x: 3 (99.9%)\ny.png", "\x9b2J.png"]
    for name in names:
        png(tmp_path / "in" / name, 200)
    (tmp_path / "in" / "\x1b[2Jbroken.png").write_bytes(b"%PDF")
    for paths in ([tmp_path / "in"], sorted((tmp_path / "in").iterdir())):
        done = warm("predict", digits, *paths)
        assert not any(odd in done.out + done.err for odd in ("\x1b", "\u202e", "\x9b"))
        assert len(done.out.splitlines()) == len(names) and "\\x1b[31mred.png: " in done.out
        assert "\\x1b[2Jbroken.png cannot be used: it is a PDF document" in done.err, done.err
        found = warm("predict", digits, *paths, "--json").out
        assert not any(odd in found for odd in ("\x1b", "\u202e", "\x9b"))
        assert {Path(json.loads(line)["file"]).name for line in found.splitlines()} == set(names)


@pytest.fixture
def bundle(digits, tmp_path):
    """A copy of a good bundle, to be spoilt."""
    return Path(shutil.copytree(digits / "bundle", tmp_path / "bundle"))


def spoil(bundle: Path, **changes: object) -> None:
    info = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**info, **changes}))


def without(bundle: Path, *path: str) -> None:
    info = json.loads((bundle / "bundle.json").read_text())
    inner = info
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    (bundle / "bundle.json").write_text(json.dumps(info))


HOSTILE = {
    "missing": (lambda b: (b / "bundle.json").unlink(), ["has no bundle.json", "Give the folder"]),
    "truncated": (lambda b: os.truncate(b / "bundle.json", 500), ["cannot be read", "Train or export it again"]),
    "empty": (lambda b: os.truncate(b / "bundle.json", 0), ["cannot be read", "Train or export it again"]),
    "binary": (lambda b: (b / "bundle.json").write_bytes(b"\xff\xfe\x00"), ["cannot be read", "again"]),
    "a list": (lambda b: (b / "bundle.json").write_text("[1]"), ["cannot be read", "again"]),
    "deep": (lambda b: (b / "bundle.json").write_text("[" * 100_000), ["cannot be read", "again"]),
    "other format": (lambda b: spoil(b, format=99), ["format 99", "reads formats 1 and 2", "newer"]),
    "no format": (lambda b: without(b, "format"), ["no key 'format'", "again"]),
    "too few labels": (lambda b: spoil(b, labels=["0", "1"]), ["those of other labels", "again"]),
    "too many labels": (
        lambda b: spoil(b, labels=list(map(str, range(11))), metrics={}),
        ["not what its bundle.json", "again"],
    ),
    "labels are a number": (lambda b: spoil(b, labels=10), ["cannot be read", "again"]),
    "labels are a text": (lambda b: spoil(b, labels="0123456789"), ["labels", "again"]),
    "a label twice": (lambda b: spoil(b, labels=["0"] * 10), ["labels", "again"]),
    "escape codes in a label": (lambda b: spoil(b, labels=["\x1b[2J", *"123456789"]), ["labels", "again"]),
    "no borders": (lambda b: without(b, "borders"), ["no key 'borders'", "again"]),
    "no height": (lambda b: without(b, "preprocessing", "height"), ["no key 'height'", "again"]),
    "huge pictures": (
        lambda b: spoil(b, preprocessing={"height": 10**9, "width": 10**9, "channels": 1, "fit": "squash"}),
        ["1000000000x1000000000", "bundle.json"],
    ),
    "other size": (
        lambda b: spoil(b, preprocessing={"height": 9, "width": 8, "channels": 1, "fit": "squash"}),
        ["not what its bundle.json says", "again"],
    ),
    "odd fit": (
        lambda b: spoil(b, preprocessing={"height": 8, "width": 8, "channels": 1, "fit": "stretch"}),
        ["stretch", "bundle.json"],
    ),
    "text for a number": (lambda b: spoil(b, abstain_below="often"), ["cannot be read", "again"]),
    "no model": (lambda b: (b / "model.onnx").unlink(), ["no model.onnx", "again"]),
    "truncated model": (lambda b: os.truncate(b / "model.onnx", 1000), ["model.onnx is not the file that", "again"]),
    "truncated model of old": (
        lambda b: (spoil(b, format=1, files=None), os.truncate(b / "model.onnx", 1000), (b / "sbom.cdx.json").unlink()),
        ["model.onnx cannot be read", "is cut short", "again"],
    ),
    "a pickle": (lambda b: (b / "model.pkl").touch(), ["model.pkl may be a pickle", "delete it"]),
    "left behind": (lambda b: (b / ".DS_Store").touch(), [".DS_Store is a hidden file", "delete it"]),
    "linked": (
        lambda b: (b.parent / "more.onnx").hardlink_to(b / "model.onnx"),
        ["model.onnx is a hard link", "cp -r"],
    ),
    "absent": (shutil.rmtree, ["does not exist", "Give the folder"]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_bundle(warm, bundle, tmp_path, kind):
    harm, keywords = HOSTILE[kind]
    harm(bundle)
    done = warm("predict", bundle, png(tmp_path / "p.png"))
    assert done.out == ""
    said = done.refusal()
    for keyword in keywords:
        assert keyword in said


@pytest.mark.parametrize("key", ["data", "recipe"])
def test_other_verbs_of_a_hostile_bundle(warm, bundle, key):
    without(bundle, key)
    for words in (("evaluate", bundle, "digits"), ("info", bundle, "--layers")):
        assert f"no key '{key}'" in warm(*words).refusal()
