"""keensight tune: what it prints, what a kill leaves, and what it refuses."""

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

QUICK = ("--set", "model=logistic", "--set", "epochs=5", "--set", "batch_size=32")


def trials(folder: Path) -> list[dict]:
    file = folder / "trials.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def without_clock(folder: Path) -> list[dict]:
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in trials(folder)]


@pytest.fixture(scope="module")
def whole(warm, tmp_path_factory):
    """Seven trials on digits that nothing interrupted: the folder, and what was printed."""
    home = tmp_path_factory.mktemp("whole")
    cache = home / "cache"
    done = warm("tune", "digits", "--trials", 7, *QUICK, "--json", cwd=home, KEENSIGHT_CACHE=str(cache))
    assert done.status == 0, done.err
    return home / "tunings" / "digits", done, cache


def test_json(whole):
    folder, done, _ = whole
    said = done.json()
    assert done.err.startswith("note: 10 classes: 0 178") and done.err.count("\n") == 1
    assert said["tuning"] == "tunings/digits"
    assert said["recipe"] == "tunings/digits/best.toml"
    assert sum(said["trials"].values()) == 7 == len(trials(folder))
    best, own = said["best"], said["baseline"]
    assert own["number"] == 0 and best["val_accuracy"] >= own["val_accuracy"]
    for each in (best, own):
        assert each["val_accuracy_low"] < each["val_accuracy"] < each["val_accuracy_high"]
    assert said["gain"]["difference"] == pytest.approx(best["val_accuracy"] - own["val_accuracy"])
    assert said["gain"]["low"] <= said["gain"]["difference"] <= said["gain"]["high"]
    assert said["gain"]["noise"] == (said["gain"]["low"] <= 0 <= said["gain"]["high"])
    assert set(said["importances"]) <= {"learning_rate", "weight_decay", "label_smoothing"}, (
        "what is set is not searched"
    )
    assert any("flatters" in warning for warning in said["warnings"])
    assert said["n"] == 269


def test_text_of_a_search_that_is_finished(warm, whole):
    folder, _, cache = whole
    done = warm("tune", "digits", "--out", folder, "--resume", KEENSIGHT_CACHE=str(cache))
    assert done.status == 0
    assert "note: The search is finished, with 7 trials. Ask for more with --trials." in done.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.out)
    for word in ("best ", "recipe ", "gain ", "what mattered", "a hint only", "flatters", "95 % interval", "page "):
        assert word in done.out
    rows = re.findall(r"^ +\d+  +[\d.]+%.*$", done.out, re.MULTILINE)
    assert 2 <= len(rows) <= 6
    program, *words = shlex.split(done.out.splitlines()[-1].removeprefix("next"))
    assert program == "keensight"
    noise = whole[1].json()["gain"]["noise"]
    assert words == ["train", "digits", "--recipe", str(folder / ("recipe.toml" if noise else "best.toml"))]
    assert ("the starting recipe is as good" in done.out) == noise


def test_killed_and_resumed_is_uninterrupted(warm, whole, tmp_path):
    """kill -9 twice in the middle, and exactly the trials that there would have been."""
    folder, _, cache = whole
    torn = tmp_path / "torn"
    for lines in (1, 3):
        words = ["--resume"] if torn.exists() else ["--trials", 7, *QUICK]
        running = warm.start("tune", "digits", "--out", torn, *words, KEENSIGHT_CACHE=str(cache))
        running.until(lambda enough=lines: len(trials(torn)) >= enough)
        running.send(signal.SIGKILL)
        assert running.wait().status == -signal.SIGKILL
        assert len(trials(torn)) < 7
    (torn / ".trials.jsonl.0123456789ab").write_text("half a line")  # as a kill can leave it
    resumed = warm("tune", "digits", "--out", torn, "--resume", "--json", KEENSIGHT_CACHE=str(cache))
    assert "Continuing after" in resumed.err
    assert without_clock(torn) == without_clock(folder)
    assert (torn / "best.toml").read_text() == (folder / "best.toml").read_text()
    assert not list(torn.glob(".*"))


def test_ctrl_c_says_how_to_go_on(warm, whole, tmp_path):
    _, _, cache = whole
    folder = tmp_path / "a search"
    running = warm.start("tune", "digits", "--out", folder, "--trials", 9, *QUICK, KEENSIGHT_CACHE=str(cache))
    running.until(lambda: trials(folder))
    for words in ([], ["--resume"]):
        said = warm("tune", "digits", "--out", folder, *words, KEENSIGHT_CACHE=str(cache)).refusal()
        assert "Another search is writing to" in said and "--out" in said
    running.send(signal.SIGINT)
    stopped = running.wait()
    assert (stopped.status, stopped.out) == (130, "")
    said = stopped.paragraph()
    count = len(trials(folder))
    assert f"interrupted. {count} trial{'s' if count > 1 else ''} that ended" in said
    assert str(folder / "tuning.html") in said
    assert (folder / "tuning.html").read_text().count('<th scope="row" class="n"') == count
    program, *words = shlex.split(said.rpartition("go on with: ")[2])
    assert program == "keensight" and words == ["tune", "digits", "--out", str(folder), "--resume"]
    assert warm(*words, "--trials", count, KEENSIGHT_CACHE=str(cache)).status == 0
    assert len(trials(folder)) == count


def test_ctrl_c_before_the_first_trial_leaves_nothing(warm, pictures, tmp_path):
    slow = ("--set", "batch_size=1", "--set", "size=128", "--set", "filters=64")
    running = warm.start("tune", pictures, *slow, cwd=tmp_path)
    running.until((tmp_path / "tunings" / "bars" / "tuning.json").exists)
    running.send(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130
    assert "nothing was kept" in stopped.paragraph()
    assert list(tmp_path.iterdir()) == []


def test_range_test(warm, pictures, tmp_path):
    done = warm("tune", pictures, "--lr-range", "--recipe", "logistic", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.err == "note: 2 classes: lying 60, standing 60.\n"
    suggested = re.search(r"^suggested +([\d.e-]+),", done.out)
    assert suggested
    assert f"--set learning_rate={float(suggested[1]):g}" in done.out.splitlines()[-1]
    assert (tmp_path / "tunings" / "bars-lr-range" / "lr-range.html").exists()
    said = warm("tune", pictures, "--lr-range", "--recipe", "logistic", "--json", cwd=tmp_path).json()
    assert said["suggested"] == float(suggested[1])
    assert said["steepest"] < said["lowest"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr-range", "--trials", "5"], ["--lr-range makes one short test", "--trials", "Leave out one"]),
        (["--lr-range", "--resume"], ["--resume belongs to a search"]),
        (["--budget", "soon"], ["A budget of 'soon'", "90s, 10m or 2h"]),
        (["--budget", "-5m"], ["A budget of '-5m'", "above 0"]),
        (["--budget", "0"], ["A budget of '0'", "above 0"]),
        (["--trials", "1.5"], ["--trials is '1.5'", "A whole number is accepted, such as --trials 20"]),
        (["--seed", "many"], ["--seed is 'many'", "whole number"]),
        (["--trials", "0"], ["0 trials were asked for", "at least 1"]),
        (["--search", "learning_rat"], ["Did you mean 'learning_rate'?"]),
        (["--search", "epochs", "--set", "epochs=3"], ["--set fixes epochs"]),
    ],
)
def test_wrong_usage_is_2(warm, pictures, tmp_path, words, said):
    done = warm("tune", pictures, *words, cwd=tmp_path)
    assert done.status == 2
    assert done.out == ""
    assert all(word in done.paragraph() for word in said), done.err
    assert list(tmp_path.iterdir()) == []


def test_help(warm):
    done = warm("tune", "--help")
    assert done.status == 0
    for option in ("--trials", "--budget", "--set", "--search", "--lr-range", "--resume", "--seed", "--json"):
        assert option in done.out
    assert "--no-" not in done.out
