import errno
import json
import stat

import pytest

from keensight.errors import KeensightError
from keensight.files import cache_folder, explained, to_json, write_atomically


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
