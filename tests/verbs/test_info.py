import json
import re
import shutil

import pytest

import keensight
from keensight.errors import RunError


def test_the_history_of_a_run_can_be_plotted_again(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    said = keensight.info(run, plot=True)
    assert said["kind"] == "run" and said["epochs_done"] == 8
    assert said["best_val_accuracy"] == max(epoch.val_accuracy for epoch in trained.report.history)
    svg = (run / "history.svg").read_text()
    assert said["plot"] == str(run / "history.svg") and svg.startswith("<svg")
    assert "loss and accuracy of training and validation over 8 epochs" in svg and re.search(r"kept, epoch \d", svg)


def test_an_unfinished_run_is_described_and_plotted(trained, tmp_path):
    for name in ("recipe.toml", "history.jsonl"):
        shutil.copy(trained.folder / name, tmp_path / name)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    (tmp_path / "history.jsonl").write_text("\n".join(lines[:3]))
    said = keensight.info(tmp_path, plot=True)
    assert said["kind"] == "run" and said["epochs_done"] == 3 and "--resume" in said["stopped"]
    assert (tmp_path / "history.svg").exists()


def test_a_folder_of_runs_is_not_taken_for_one(trained, tmp_path):
    runs = tmp_path / "runs"
    for number in range(7):
        (runs / f"digits-{number}").mkdir(parents=True)
        for name in ("recipe.toml", "history.jsonl"):
            shutil.copy(trained.folder / name, runs / f"digits-{number}" / name)
    for plot in (False, True):
        with pytest.raises(RunError) as refusal:
            keensight.info(runs, plot=plot)
        assert str(refusal.value) == (
            f"{runs} is a folder of runs: digits-0, digits-1, digits-2, digits-3, digits-4 and 2 more. Give one of "
            f"them, such as {runs}/digits-0."
        )


def test_where_there_is_no_history_there_is_nothing_to_plot(trained, tmp_path):
    with pytest.raises(RunError, match=r"has no history.jsonl.* Give a run folder"):
        keensight.info(trained.bundle, plot=True)
    (tmp_path / "recipe.toml").write_text("")
    for text in ("", "{}", json.dumps([1]), "\x00"):
        (tmp_path / "history.jsonl").write_text(text)
        with pytest.raises(RunError, match="history.jsonl"):
            keensight.info(tmp_path)
