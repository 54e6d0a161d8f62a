"""`keensight explain`: its JSON, its text, its exit statuses, and what it leaves behind."""

import json
import shutil

import pytest


def test_json(warm, digits, pictures, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        shutil.copy(pictures / "lying" / f"{i}.png", folder)
    done = warm("explain", digits, folder, "--out", tmp_path / "why", "--json")
    said = done.json()
    assert done.remarks == [], "nothing to say is said"
    assert set(said) == {"bundle", "out", "page", "pictures"}
    assert said["bundle"] == str(digits / "bundle") and said["out"] == str(tmp_path / "why")
    assert said["page"] == str(tmp_path / "why" / "explanation.html")
    predicted = warm("predict", digits, folder, "--json").out.splitlines()
    for each, line in zip(said["pictures"], predicted, strict=True):
        evidence = each.pop("evidence")
        assert each == json.loads(line)
        assert set(evidence) == {"x", "y", "drop"}
        assert 0 < evidence["x"] < 1 and 0 < evidence["y"] < 1 and -90 <= evidence["drop"] <= 90
    page = (tmp_path / "why" / "explanation.html").read_text()
    assert page.count("The picture as the model sees it.") == 3 and "<script" not in page


def test_text(warm, digits, pictures, tmp_path):
    files = [pictures / "lying" / "0.png", pictures / "standing" / "0.png"]
    done = warm("explain", digits, *files, cwd=tmp_path)
    assert (done.status, done.remarks) == (0, [])
    *answers, page = done.out.splitlines()
    for line, file, said in zip(answers, files, warm("predict", digits, *files).out.splitlines(), strict=True):
        assert line.startswith(f"{file}: ")
        assert said.split(" (")[0] in line, "the same answer as from predict"
        assert ("most evidence " in line and "% from the left" in line) or "not depend on a single spot" in line
    assert page == f"page  explanations/{digits.name}/explanation.html"
    assert (tmp_path / "explanations" / digits.name / "explanation.html").is_file()


def test_a_bad_picture_is_named_and_the_others_are_explained(warm, digits, pictures, tmp_path):
    (tmp_path / "text.png").write_text("I am no picture.")
    words = ("explain", digits, tmp_path / "text.png", pictures / "lying" / "0.png", "--json")
    done = warm(*words, "--out", tmp_path / "why")
    assert done.status == 1
    assert len(json.loads(done.out)["pictures"]) == 1 and (tmp_path / "why" / "explanation.html").exists()
    assert done.err == warm("predict", *words[1:]).err, "in the words of predict"
    assert "text.png cannot be used: " in done.err


def test_where_all_are_bad_nothing_is_left(warm, digits, tmp_path):
    (tmp_path / "text.png").write_text("I am no picture.")
    for out in ((), ("--out", tmp_path / "new" / "why")):
        done = warm("explain", digits, tmp_path / "text.png", tmp_path / "gone.png", *out, cwd=tmp_path)
        assert done.out == ""
        refusal = done.refusal()
        assert "text.png cannot be used: " in refusal and "gone.png cannot be used: no such file" in refusal
        assert [path.name for path in tmp_path.iterdir()] == ["text.png"]


@pytest.mark.parametrize("holds", ["something", "an explanation"])
def test_nothing_is_lost(warm, digits, pictures, tmp_path, holds):
    out = tmp_path / "why"
    out.mkdir()
    (out / ("explanation.html" if holds == "an explanation" else "mine.txt")).write_text("keep me")
    refusal = warm("explain", digits, pictures / "lying" / "0.png", "--out", out).refusal()
    assert "folder with --out" in refusal
    assert [path.read_text() for path in out.iterdir()] == ["keep me"]


def test_too_many_pictures(warm, digits, pictures, tmp_path):
    refusal = warm("explain", digits, pictures, cwd=tmp_path).refusal()
    assert "More than 100 pictures were given." in refusal and "a smaller folder" in refusal
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle(warm, pictures, tmp_path):
    refusal = warm("explain", tmp_path, pictures / "lying" / "0.png", cwd=tmp_path).refusal()
    assert "is not a bundle" in refusal
    assert list(tmp_path.iterdir()) == []
