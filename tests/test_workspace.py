import pytest

from keensight.errors import RunError
from keensight.workspace import Kind, claim, is_finished


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
    assert (here / "run" / "recipe.toml").exists()


def test_what_a_kill_left_half_written_is_no_content(here):
    (here / "run").mkdir()
    (here / "run" / ".recipe.toml.0123456789ab").touch()
    with claim(here / "run", "x", resume=False) as folder:
        assert list(folder.iterdir()) == []
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
