import errno
import json
import os
import shutil
import stat
import time

import pytest

from keensight import files
from keensight.errors import KeensightError
from keensight.files import (
    cache_folder,
    explained,
    filling,
    remove_abandoned,
    replacing,
    to_json,
    write_atomically,
    write_folder,
)


def test_a_file_is_written_whole(tmp_path):
    write_atomically(tmp_path / "a.txt", "ä")
    assert (tmp_path / "a.txt").read_bytes() == "ä".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_what_is_no_text_is_written_as_json_has_it(tmp_path):
    """A path of bytes that are no UTF-8 comes as lone surrogates, and must come back as it was."""
    write_atomically(tmp_path / "a.json", to_json({"data": "b\udcff", "ä": 1}))
    assert (tmp_path / "a.json").read_bytes() == '{\n  "data": "b\\udcff",\n  "ä": 1\n}\n'.encode()
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"data": "b\udcff", "ä": 1}


def test_the_umask_decides_the_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "atomic", b"")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_old_file_survives_a_failed_write(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.txt", "old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeensightError, match=r"Cannot write .*a\.txt: no space left on device\. The disk is full"):
        write_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_what_fails_half_way_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def everything(folder):
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


FILES = {"a.txt": "ä", "inner/b.txt": b"b", "inner/c/d.txt": "d"}
WRITTEN = {"a.txt": "ä", "inner/b.txt": "b", "inner/c/d.txt": "d"}


def test_a_folder_is_written_whole(tmp_path):
    write_folder(tmp_path / "new" / "one", FILES)
    assert everything(tmp_path / "new" / "one") == WRITTEN
    assert os.listdir(tmp_path / "new") == ["one"]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path):
    before = tmp_path.stat().st_ino
    write_folder(tmp_path, FILES)
    assert everything(tmp_path) == WRITTEN and tmp_path.stat().st_ino == before
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "inner"]


def test_a_folder_with_something_in_it_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(KeensightError, match=r"not empty\. Nothing is overwritten\. Choose a new or empty folder"):
        write_folder(tmp_path, FILES)
    assert everything(tmp_path) == {"mine.txt": "mine"}


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path, is_there):
    folder = tmp_path / "new"
    if is_there:
        folder.mkdir()
    with pytest.raises(KeyboardInterrupt), filling(folder) as temporary:
        (temporary / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert everything(tmp_path) == {} and folder.exists() == is_there
    assert os.listdir(tmp_path) == ["new"] * is_there


def test_another_process_that_was_faster_is_not_overwritten(tmp_path):
    with pytest.raises(KeensightError, match="Nothing is overwritten"), filling(tmp_path / "new") as temporary:
        (temporary / "a.txt").write_text("mine")
        write_folder(tmp_path / "new", {"a.txt": "theirs"})
    assert everything(tmp_path) == {"new/a.txt": "theirs"}


def test_only_old_temporary_names_are_abandoned(tmp_path):
    for name, age_s in ((".a.tar.0123", 2 * 24 * 3600), (".b.tar.0123", 60), ("c.tar", 2 * 24 * 3600)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, times=(time.time() - age_s,) * 2)
    remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".b.tar.0123", "c.tar"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EROFS, "read-only"), (errno.ENOENT, "elsewhere"), (errno.ENAMETOOLONG, "shorter"), (errno.EDQUOT, "quota")],
)
def test_what_the_system_refuses_is_explained(tmp_path, number, advice):
    with pytest.raises(KeensightError, match=rf"Cannot write .*: .*\. .*{advice}"), explained(tmp_path):
        raise OSError(number, "whatever")


def test_an_unforeseen_os_error_is_not_hidden(tmp_path):
    with pytest.raises(OSError, match="Input/output"), explained(tmp_path):
        raise OSError(errno.EIO, "Input/output error")


def test_json_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"loss": float("nan")})


def test_the_cache_goes_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path / "here"))
    assert cache_folder("pixels") == tmp_path / "here" / "pixels"
    assert cache_folder("pixels").is_dir()


def test_the_cache_is_private_and_temporary_without_a_home(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path / "cache"))
    assert cache_folder("pixels").is_dir() and (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    for name in ("KEENSIGHT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", homeless)
    check_falls_back(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("home", ["file", "unwritable"])
def test_a_home_that_cannot_be_written_is_none(home, tmp_path, monkeypatch, capsys):
    place = tmp_path / home
    place.write_text("") if home == "file" else (place / ".cache" / "keensight").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # tests may run as root, who may write anywhere
    monkeypatch.setenv("HOME", str(place))
    for name in ("KEENSIGHT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    check_falls_back(tmp_path, monkeypatch, capsys)


def check_falls_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files._without_home.cache_clear()
    place = cache_folder("pixels").parent
    assert place == tmp_path / f"keensight-{os.getuid()}" and place.stat().st_mode & 0o777 == 0o700
    assert cache_folder("hashes").parent == place
    (note,) = capsys.readouterr().err.splitlines()
    assert str(place) in note and "KEENSIGHT_CACHE" in note
    files._without_home.cache_clear()
    assert cache_folder("pixels").parent == place  # and again, in another process
    place.chmod(0o755)
    files._without_home.cache_clear()
    other = cache_folder("pixels").parent  # somebody else may have made it
    assert other != place and other.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(place)
    place.symlink_to(tmp_path)
    files._without_home.cache_clear()
    assert cache_folder("pixels").parent not in (place, tmp_path)
    files._without_home.cache_clear()
