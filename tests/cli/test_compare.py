"""`keensight compare`: words in, a table or one JSON object out, and a page."""

import json

import pytest


@pytest.fixture(scope="module")
def other(tmp_path_factory, warm):
    """A second model of the digits, of another kind."""
    run = tmp_path_factory.mktemp("other") / "plain"
    done = warm("train", "digits", "--out", run, "--set", "model=logistic", "--set", "epochs=5")
    assert done.status == 0, done.err
    return run


def test_help(warm):
    done = warm("compare", "--help")
    assert done.status == 0 and "keensight compare runs/one/bundle runs/other/bundle" in done.out
    for option in ("--split", "--label-pattern", "--attack", "--eps", "--out", "--json"):
        assert option in done.out
    assert "--no-" not in done.out and "comparisons/" in done.out
    assert "compare" in warm("--help").out


def test_json(warm, digits, other, tmp_path):
    done = warm("compare", digits, other / "bundle", "digits", "--eps", "0.1", "0", "--json", cwd=tmp_path)
    said = done.json()
    assert done.remarks == []
    assert set(said) >= {"data", "split", "n", "bundles", "pairs", "page"}
    assert (said["data"], said["split"], said["n"]) == ("digits", "test", said["bundles"][0]["metrics"]["n"])
    assert [each["bundle"] for each in said["bundles"]] == [str(digits / "bundle"), str(other / "bundle")]
    for each, run in zip(said["bundles"], (digits, other), strict=True):
        report = json.loads((run / "report.json").read_text())
        assert each["metrics"] == report["test"]
        assert each["parameters"] == report["model"]["parameters"]
        assert [attack["threat"] for attack in each["attacks"]] == [
            {"norm": "linf", "eps": eps, "steps": 0} for eps in (0.0, 0.1)
        ]
        assert all(set(attack) == {"attack", "threat", "accuracy", "n"} for attack in each["attacks"])
    (pair,) = said["pairs"]
    difference = said["bundles"][0]["metrics"]["accuracy"] - said["bundles"][1]["metrics"]["accuracy"]
    assert pair["only_first"] - pair["only_second"] == pytest.approx(difference * said["n"])
    assert 0 < pair["p_value"] <= 1
    assert said["page"] == "comparisons/digits/comparison.html"
    assert "<!doctype html>" in (tmp_path / said["page"]).read_text()


def test_text(warm, digits, other, tmp_path):
    done = warm("compare", digits, other, "digits", "--out", tmp_path / "out", "--split", "val", "--attack", "fgsm")
    assert done.status == 0 and done.remarks == []
    lines = done.out.splitlines()
    assert "pictures of digits, split: val" in lines[0]
    assert any(line.startswith("A digits ") and "%" in line for line in lines)
    assert any(line.startswith("B plain ") and "650" in line for line in lines)
    assert "p = " in done.out and "luck" in done.out
    (head,) = (line for line in lines if line.startswith("epsilon"))
    assert head.split() == ["epsilon", "0", "0.05", "0.1", "0.15", "0.2", "0.3"]
    assert lines[-1] == f"page  {tmp_path / 'out' / 'comparison.html'}"
    assert "\x1b" not in done.out
    again = warm("compare", digits, other, "digits", "--out", tmp_path / "out")
    assert "finished comparison already" in again.refusal()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "BUNDLE BUNDLE... DATA"),
        (("digits",), "0 bundles came before DATA"),
        (("ONE", "digits"), "1 bundle came before DATA"),
        (("ONE", "OTHER"), "OTHER is a bundle"),
        (("ONE", "OTHER", "digits", "--eps", "1.5"), "An epsilon of 1.5"),
        (("ONE", "OTHER", "digits", "--eps", "much"), "much"),
        (("ONE", "OTHER", "digits", "--attack", "exact"), "--attack fgsm"),
        (("ONE", "OTHER", "digits", "--split", "tset"), "train, val, test"),
        (("ONE", "OTHER", "digits", "--label-pattern", "{label}__*"), "label pattern"),
    ],
)
def test_wrong_usage_is_2_and_leaves_nothing(warm, digits, other, tmp_path, words, text):
    places = {"ONE": str(digits), "OTHER": str(other)}
    done = warm("compare", *[places.get(word, word) for word in words], cwd=tmp_path)
    assert done.status == 2 and done.out == ""
    assert text.replace("OTHER", str(other)) in done.paragraph().replace("_", "-")
    assert list(tmp_path.iterdir()) == []


def test_failures_are_1(warm, digits, tmp_path):
    assert "nowhere does not exist" in warm("compare", digits, "nowhere", "digits", cwd=tmp_path).refusal()
    assert list(tmp_path.iterdir()) == []
