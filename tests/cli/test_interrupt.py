"""The promise of --resume: killed or interrupted, a run goes on as if nothing had happened."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keensight.workspace import LEFTOVER

pytestmark = pytest.mark.thorough

EPOCHS = 10
AUGMENT = [
    "flip=true",
    "rotate=15",
    "shear=0.1",
    "zoom=0.1",
    "shift=0.1",
    "crop=2",
    "cutout=4",
    "brightness=0.2",
    "contrast=0.2",
]


def changes(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def history(run: Path) -> list[dict]:
    file = run / "history.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def without_clock(run: Path) -> list[dict]:
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history(run)]


@pytest.mark.parametrize(
    ("optimizer", "kills"),
    [
        ("adamw", (2, 5)),
        pytest.param("adam", (2,), marks=pytest.mark.slow),  # tests/training/test_checkpoint.py has all optimizers
        pytest.param("sgd", (3,), marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_is_uninterrupted(warm, pictures, tmp_path, sha256, optimizer, kills):
    recipe = changes(
        f"epochs={EPOCHS}", f"optimizer={optimizer}", "dropout=0.3", "batch_size=16", "filters=8", *AUGMENT
    )
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert warm("train", pictures, "--out", whole, *recipe).status == 0

    for lines in kills:
        resume = ["--resume"] if torn.exists() else recipe
        running = warm.start("train", pictures, "--out", torn, *resume)
        running.until(lambda enough=lines: len(history(torn)) >= enough)
        running.send(signal.SIGKILL)
        assert running.wait().status == -signal.SIGKILL
        assert len(history(torn)) < EPOCHS

    (torn / ".last.safetensors.0123456789ab").write_bytes(b"half a checkpoint")  # as a kill can leave it
    (torn / ".bundle.4711").mkdir()
    resumed = warm("train", pictures, "--out", torn, "--resume", "--json")
    assert "Continuing after epoch" in resumed.err
    assert resumed.json()["epochs"] == EPOCHS
    assert without_clock(torn) == without_clock(whole)
    assert sha256(torn / "best.safetensors") == sha256(whole / "best.safetensors")
    assert sha256(torn / "last.safetensors") == sha256(whole / "last.safetensors")
    assert sha256(torn / "last.safetensors", "model.") == sha256(whole / "last.safetensors", "model.")
    assert sha256(torn / "bundle" / "model.safetensors") == sha256(whole / "bundle" / "model.safetensors")
    assert not list(torn.glob(".*")), "what the killed process was writing is still there"


def test_ctrl_c_says_how_to_go_on(warm, pictures, tmp_path):
    recipe = changes("epochs=8", "batch_size=8")
    run = tmp_path / "a run"  # the blank must be quoted in the advice
    running = warm.start("train", pictures, "--out", run, *recipe)
    running.until(lambda: len(history(run)) >= 2)
    running.send(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130
    assert stopped.out == ""
    said = stopped.paragraph()
    assert "interrupted" in said
    assert "Everything up to the last checkpoint is in" in said
    program, *words = shlex.split(said.rpartition("resume with: ")[2])
    assert program == "keensight"
    assert "--resume" in words

    assert warm(*words).status == 0
    assert len(history(run)) == 8
    # and once more, now that it is finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = warm(*words, "--json")
    assert again.json()["epochs"] == 8
    assert "finished" in again.err
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.mark.parametrize("named", [True, False])
def test_ctrl_c_before_the_first_epoch_leaves_nothing(warm, pictures, tmp_path, named):
    run = tmp_path / "out" / "run" if named else tmp_path / "runs" / "bars"
    out = ["--out", run] if named else []
    # a first epoch that takes long: 1,024 convolutions of wide pictures, one at a time
    slow = changes("epochs=2", "batch_size=1", "size=128", "filters=64")
    running = warm.start("train", pictures, *out, *slow, cwd=tmp_path)
    running.until((run / "recipe.toml").exists)
    running.send(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130
    assert "nothing was kept" in stopped.paragraph()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_folder_that_was_there_leaves_it_empty(warm, pictures, tmp_path):
    slow = changes("epochs=2", "batch_size=1", "size=128", "filters=64")
    running = warm.start("train", pictures, "--out", tmp_path, *slow)
    running.until((tmp_path / "recipe.toml").exists)
    running.send(signal.SIGINT)
    assert running.wait().status == 130
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_into_one_folder(warm, pictures, tmp_path):
    run = tmp_path / "run"
    recipe = changes("epochs=8", "batch_size=8")
    first = warm.start("train", pictures, "--out", run, *recipe)
    first.until(lambda: history(run))
    first.send(signal.SIGSTOP)  # it must not finish meanwhile
    for words in ([], ["--resume"]):
        said = warm("train", pictures, "--out", run, *words).refusal()
        assert "Another run is writing to" in said
        assert str(run) in said
        assert "--out" in said
    first.send(signal.SIGCONT)
    assert first.wait().status == 0
    assert len(history(run)) == 8
    said = warm("train", pictures, "--out", run, *recipe).refusal()
    assert "finished run" in said
    assert "--out" in said


def test_runs_that_start_in_the_same_moment(warm, pictures, tmp_path):
    recipe = changes("epochs=2", "batch_size=32")
    running = [warm.start("train", pictures, "--out", tmp_path / "run", *recipe) for _ in range(3)]
    done = [each.wait() for each in running]
    assert sorted(each.status for each in done) == [0, 1, 1]
    for each in done:
        if each.status:
            assert "--out" in each.refusal()
    assert (tmp_path / "run" / "bundle" / "bundle.json").exists()


def test_runs_without_a_name_get_folders_of_their_own(warm, pictures, tmp_path):
    recipe = changes("epochs=1", "model=logistic")
    running = [warm.start("train", pictures, "--json", *recipe, cwd=tmp_path) for _ in range(2)]
    assert sorted(each.wait().json()["run"] for each in running) == ["runs/bars", "runs/bars-2"]


@pytest.fixture
def killed(warm, pictures, tmp_path):
    """A run that was killed after its first epochs."""
    run = tmp_path / "killed"
    running = warm.start("train", pictures, "--out", run, "--recipe", "dense", *changes("epochs=400", "hidden=[16]"))
    running.until(lambda: history(run))
    running.send(signal.SIGKILL)
    running.wait()
    return run


def test_resuming_asks_for_the_same_experiment(warm, killed, pictures, make_pictures, tmp_path):
    # the kill may have come while a file was written under its temporary name, which the next --resume takes away
    before = {path.name: path.read_bytes() for path in killed.iterdir() if not LEFTOVER.fullmatch(path.name)}

    said = warm("train", make_pictures(tmp_path / "others" / "bars", seed=1), "--out", killed, "--resume").refusal()
    assert "not those that the run" in said
    assert "same DATA" in said

    said = warm("train", pictures, "--out", killed, "--resume", "--recipe", "logistic").refusal()
    assert "began with" in said
    assert "logistic" in said
    assert "--out" in said

    said = warm("train", pictures, "--out", killed, "--resume", *changes("learning_rate=0.5")).refusal()
    assert "learning_rate = 0.001" in said
    assert "0.5" in said

    said = warm("train", pictures, "--out", killed, "--resume", "--seed", 7).refusal()
    assert "seed = 0" in said

    said = warm("train", pictures, "--out", killed, *changes("epochs=400")).refusal()
    assert "unfinished run" in said
    assert "--resume" in said
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


def test_resuming_takes_the_same_words_again(warm, killed, pictures):
    running = warm.start("train", pictures, "--out", killed, "--resume", "--seed", 0, *changes("epochs=400"))
    done = len(history(killed))
    running.until(lambda: len(history(killed)) > done)
    running.send(signal.SIGKILL)
    running.wait()


def test_killed_after_the_last_epoch(warm, pictures, tmp_path, sha256):
    """Everything is learnt, and only the bundle is missing: nothing is trained again, and nothing is lost."""
    run = tmp_path / "run"
    assert warm("train", pictures, "--out", run, *changes("epochs=3", "model=logistic")).status == 0
    weights, epochs = sha256(run / "best.safetensors"), (run / "history.jsonl").read_text()
    (run / "bundle" / "bundle.json").unlink()
    for file in (run / "bundle").iterdir():
        file.unlink()
    (run / "bundle").rmdir()
    (run / "history.jsonl").write_text(
        "".join(epochs.splitlines(keepends=True)[:-1])
    )  # it is written after last.safetensors
    assert warm("train", pictures, "--out", run, "--resume", "--json").json()["epochs"] == 3
    assert sha256(run / "best.safetensors") == weights
    assert (run / "history.jsonl").read_text() == epochs
    assert (run / "bundle" / "model.onnx").exists()


def test_a_finished_run_answers_for_its_own_pictures_and_settings_alone(warm, pictures, make_pictures, tmp_path):
    """It is checked as one that is not finished, and nothing that was asked for is passed over."""
    run = tmp_path / "run"
    assert warm("train", pictures, "--out", run, *changes("epochs=1", "model=logistic")).status == 0
    before = (run / "report.json").read_bytes()
    others = make_pictures(tmp_path / "others" / "bars", seed=1)
    for words, said in (
        ([others], "are not those that the run"),
        ([pictures, *changes("learning_rate=0.5")], "learning_rate"),
        ([pictures, *changes("epochs=9")], "epochs = 1, and 9"),
        ([pictures, "--seed", 7], "seed"),
        ([pictures, "--recipe", "logistic", *changes("val_fraction=0.3")], "began with"),
    ):
        assert said in warm("train", *words, "--out", run, "--resume").refusal(), words
    again = warm("train", pictures, "--out", run, "--resume", *changes("epochs=1"))
    assert again.status == 0 and "nothing to resume" in again.err
    assert (run / "report.json").read_bytes() == before


def test_relative_weights_of_a_recipe_are_found_from_elsewhere(warm, digits, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    assert warm("export", digits, "--weights-only", "--out", here / "w.safetensors").status == 0
    (here / "mine.toml").write_text('weights = "w.safetensors"\nepochs = 2\n')
    run = tmp_path / "run"
    assert warm("train", "digits", "--recipe", "mine.toml", "--out", run, cwd=here).status == 0
    assert f'weights = "{here / "w.safetensors"}"' in (run / "recipe.toml").read_text()
    shutil.rmtree(run / "bundle")  # as a kill leaves it after the last epoch
    resumed = warm("train", "digits", "--out", run, "--resume", "--json", cwd=elsewhere)
    assert resumed.json()["epochs"] == 2


def test_nothing_to_resume(warm, pictures, tmp_path):
    said = warm("train", pictures, "--resume", cwd=tmp_path).refusal()
    assert "no unfinished run of bars" in said
    said = warm("train", pictures, "--resume", "--out", tmp_path / "absent", cwd=tmp_path).refusal()
    assert "no run to resume" in said
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused(warm, killed, pictures):
    last = killed / "last.safetensors"
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    said = warm("train", pictures, "--out", killed, "--resume").refusal()
    assert "damaged" in said
    assert "train again, into another folder" in said


def test_ctrl_c_while_a_library_is_loaded(tmp_path):
    """pybind11 raises ImportError from the KeyboardInterrupt that came in the middle of a module's C++."""
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            raise ImportError('initialization failed') from KeyboardInterrupt()\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from keensight.cli import main\n"
        "main(['train', 'digits'])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "keensight: interrupted.\n")


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0])
def test_ctrl_c_at_any_moment(warm, pictures, tmp_path, after_s):
    """From the first import to the last file: 130, one paragraph, and either nothing or something to go on with."""
    run = tmp_path / "run"
    words = [sys.executable, "-m", "keensight", "train", pictures, "--out", run, *changes("epochs=4")]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    if process.returncode == 0:
        assert (run / "bundle" / "bundle.json").exists()
        return
    # inside an exec of text (a dataclass being imported) Python notes it, and ends by the signal: 130 to a shell too
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    assert said.count("keensight: ") == 1
    assert out == ""
    if run.exists():
        program, *words = shlex.split(said.rpartition("resume with: ")[2])
        assert program == "keensight"
        assert warm(*words).status == 0
