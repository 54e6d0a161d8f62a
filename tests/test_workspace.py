import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from itertools import product

import pytest

from keensight.errors import KeensightError, RunError
from keensight.values import Epoch
from keensight.workspace import (
    LOCK,
    Kind,
    RunFolder,
    bundle_in,
    claim,
    is_finished,
    is_run,
    read_history,
    run_name,
    write_history,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(folder, finished=False):
    folder.mkdir(parents=True)
    (folder / "recipe.toml").touch()
    if finished:
        (folder / "bundle").mkdir()
        (folder / "bundle" / "bundle.json").touch()
    return folder


def test_each_new_run_gets_a_name_of_its_own(here):
    names = []
    for _ in range(3):
        with claim(None, "my pets!", resume=False) as folder:
            names.append(str(folder))
            (folder / "recipe.toml").touch()
    assert names == ["runs/my-pets", "runs/my-pets-2", "runs/my-pets-3"]


@pytest.mark.parametrize("name", ["../../etc", "..", "/", "a/b", ""])
def test_no_name_leads_out_of_runs(here, name):
    with claim(None, name, resume=False) as folder:
        assert folder.parent.name == "runs" and folder.resolve().parent == here / "runs"


def test_a_failure_before_the_first_checkpoint_leaves_nothing(here):
    (here / "empty").mkdir()
    for out, remains in ((here / "new", False), (here / "empty", True)):
        with pytest.raises(ValueError, match="boom"), claim(out, "x", resume=False) as folder:
            (folder / "recipe.toml").touch()
            (folder / "bundle").mkdir()
            raise ValueError("boom")
        assert out.exists() == remains and (not remains or not any(out.iterdir()))


def test_a_failure_after_it_keeps_everything(here):
    with pytest.raises(ValueError, match="boom"), claim(here / "new", "x", resume=False) as folder:
        (folder / "last.safetensors").touch()
        raise ValueError("boom")
    assert (here / "new" / "last.safetensors").exists()


def test_two_at_once_are_refused(here):
    with claim(here / "run", "x", resume=False) as folder:
        (folder / "recipe.toml").touch()
        for resume in (False, True):
            with pytest.raises(RunError, match="Another run is writing"), claim(here / "run", "x", resume=resume):
                pass
        assert (folder / LOCK).exists()
    assert [child.name for child in (here / "run").iterdir()] == ["recipe.toml"], "the lock is gone"


def test_a_lock_dies_with_its_process(here):
    code = (
        "import sys, time; from pathlib import Path; from keensight.workspace import claim\n"
        "with claim(Path('run'), 'x', False) as folder:\n"
        "    (folder / 'recipe.toml').touch(); (folder / 'last.safetensors').touch(); print('in', flush=True)\n"
        "    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(RunError, match="Another run is writing"), claim(here / "run", "x", resume=True):
            pass
        other.send_signal(signal.SIGKILL)
    assert (here / "run" / LOCK).exists(), "a kill leaves it behind"
    with claim(here / "run", "x", resume=True) as folder:
        assert folder == here / "run"
    assert sorted(child.name for child in folder.iterdir()) == ["last.safetensors", "recipe.toml"]


def test_a_file_of_ones_own_is_never_taken_for_a_lock(here):
    (here / "mine").mkdir()
    (here / "mine" / ".lock").touch()
    with pytest.raises(RunError, match="not empty"), claim(here / "mine", "x", resume=False):
        pass
    assert [child.name for child in (here / "mine").iterdir()] == [".lock"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_named(here):
    (here / "run").mkdir(mode=0o500)
    with pytest.raises(KeensightError, match="may not write there"), claim(here / "run", "x", resume=False):
        pass


@pytest.mark.thorough
def test_no_name_needs_what_windows_has_not():
    code = "import sys; sys.modules['fcntl'] = None; import keensight; [getattr(keensight, n) for n in dir(keensight)]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("recipe,splits,history", list(product([True, False], repeat=3)))
def test_a_run_is_told_by_its_files(here, recipe, splits, history):
    run = RunFolder(here)
    for file, there in ((run.recipe, recipe), (run.splits, splits), (run.history, history)):
        if there:
            file.touch()
    assert is_run(here) == (recipe and (splits or history))


def test_a_bundle_is_found_in_its_own_folder_and_in_the_run_around_it(here):
    bundle = make_run(here / "pets", finished=True) / "bundle"
    assert bundle_in(bundle) == bundle_in(here / "pets") == bundle
    assert bundle_in(here) is None and bundle_in(here / "nowhere") is None and bundle_in(here / ("x" * 5000)) is None
    assert run_name(bundle) == run_name(here / "pets") == "pets"
    (bundle / "bundle.json").rename(bundle / "signature.json")
    assert bundle_in(bundle) is None and bundle_in(here / "pets", "signature.json") == bundle


def test_a_history_comes_back_as_it_was_written(here):
    run = RunFolder(here)
    history = [Epoch(n, 0.1 / 3, 0.9, 0.2, 0.8, 1e-3, 1.5, best=n == 1, stopped="enough" * (n == 2)) for n in (1, 2)]
    write_history(run, history)
    assert [json.loads(line) for line in run.history.read_text().splitlines()] == [asdict(epoch) for epoch in history]
    assert read_history(run) == history
    run.history.unlink()
    with pytest.raises(RunError, match=r"history\.jsonl holds no epoch yet"):
        read_history(run)


def test_what_a_kill_left_half_written_is_no_content(here):
    (here / "run").mkdir()
    (here / "run" / ".recipe.toml.0123456789ab").touch()
    with claim(here / "run", "x", resume=False) as folder:
        assert [child.name for child in folder.iterdir()] == [LOCK]
    (here / "run" / ".recipe.toml.0123456789ab").touch()
    (here / "run" / "letter.txt").touch()
    with pytest.raises(RunError, match="not empty"), claim(here / "run", "x", resume=False):
        pass
    assert len(list((here / "run").iterdir())) == 2


def test_a_folder_that_holds_something_is_refused(here):
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").touch()
    make_run(here / "unfinished")
    make_run(here / "finished", finished=True)
    for name, words in (("mine", "not empty"), ("unfinished", "--resume"), ("finished", "a finished run already")):
        with pytest.raises(RunError, match=words), claim(here / name, "x", resume=False):
            pass
    assert (here / "mine" / "letter.txt").exists()


def test_resume_finds_the_latest_unfinished_run(here):
    make_run(here / "runs" / "pets", finished=True)
    make_run(here / "runs" / "pets-2")
    make_run(here / "runs" / "petshop")
    with claim(None, "pets", resume=True) as folder:
        assert folder.name == "pets-2" and not is_finished(folder)
    with pytest.raises(RunError, match="no unfinished run of cars"), claim(None, "cars", resume=True):
        pass
    with pytest.raises(RunError, match="no recipe.toml"), claim(here / "nowhere", "cars", resume=True):
        pass


def test_another_kind_of_folder_has_a_home_and_files_of_its_own(here):
    kind = Kind("search", "Tune", home=here / "tunings", begun="plan.json", kept="found.jsonl", finished="")
    with claim(None, "pets", resume=False, kind=kind) as folder:
        (folder / "plan.json").touch()
        (folder / "found.jsonl").touch()
    assert folder == here / "tunings" / "pets"
    assert not is_finished(folder, kind), "more can always be asked for"
    with claim(None, "pets", resume=True, kind=kind) as again:
        assert again == folder
    with pytest.raises(RunError, match=r"holds an unfinished search\. Go on"), claim(folder, "pets", False, kind):
        pass
    with pytest.raises(RunError, match="There is no search of cars under"), claim(None, "cars", True, kind):
        pass
    with pytest.raises(RunError, match="no search to resume in"), claim(here / "other", "pets", True, kind):
        pass
    with pytest.raises(ZeroDivisionError), claim(None, "pets", resume=False, kind=kind) as second:
        raise ZeroDivisionError
    assert not second.exists() and folder.exists()
