import hashlib
import os
import socket

import pytest

from keensight.bundle import folder as under_test
from keensight.bundle.folder import disguise, read_folder, version_of
from keensight.bundle.keys import new_key
from keensight.errors import BundleError


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_bytes(b"{}")
    (folder / "report.html").write_text("ü")
    return folder


def refusal(folder):
    with pytest.raises(BundleError) as caught:
        read_folder(folder)
    return str(caught.value)


def test_every_file_is_read_whole_once(bundle, tmp_path):
    assert read_folder(bundle) == {"bundle.json": b"{}", "report.html": "ü".encode()}
    (tmp_path / "latest").symlink_to(bundle)
    assert read_folder(tmp_path / "latest") == read_folder(bundle)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".DS_Store", "hidden file, as operating systems"),
        (".signature.json.0123", "hidden file"),
        ("weights.pkl", "may be a pickle"),
        ("best.PT", "may be a pickle"),
        ("model.onnx.data", "is not a file of a bundle"),
        ("Model.onnx", "is not a file of a bundle"),
        ("odd\x1b[2J", r"odd\x1b[2J is not a file"),
        (b"odd\xff", "is not a file of a bundle"),
    ],
)
def test_a_file_that_no_bundle_has_is_refused_by_name(bundle, name, words):
    (bundle / os.fsdecode(name)).touch()
    said = refusal(bundle)
    assert words in said and "delete it" in said and "\x1b" not in said
    said.encode()  # it can be printed


def test_links_folders_pipes_and_sockets_are_refused(bundle, tmp_path):
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"secret")
    model = bundle / "model.onnx"
    model.symlink_to(outside)
    assert "model.onnx is a symbolic link" in refusal(bundle)
    model.unlink()
    model.symlink_to(tmp_path / "nowhere")
    assert "model.onnx is a symbolic link" in refusal(bundle)
    model.unlink()
    model.hardlink_to(outside)
    assert "model.onnx is a hard link" in refusal(bundle)
    model.unlink()
    os.mkfifo(model)
    assert "model.onnx is not a file but" in refusal(bundle)
    model.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(model))
        assert "model.onnx is not a file but" in refusal(bundle)
    model.unlink()
    model.mkdir()
    assert "model.onnx is not a file but" in refusal(bundle)
    model.rmdir()
    (bundle / "more").mkdir()
    assert "more is a folder" in refusal(bundle)


def test_what_a_name_leads_to_is_looked_at_again_once_it_is_open(bundle, tmp_path, monkeypatch):
    """Between the look and the opening, a file can be exchanged for a link: the second look is at what is open."""
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"secret")
    exchanged = []
    look = under_test._problem

    def exchange(name, found):
        said = look(name, found)
        if name == "bundle.json" and not exchanged:
            exchanged.append(name)
            (bundle / name).unlink()
            (bundle / name).hardlink_to(outside)
        return said

    monkeypatch.setattr(under_test, "_problem", exchange)
    assert "bundle.json is a hard link" in refusal(bundle)


def test_the_limits_hold_before_anything_is_read(bundle, monkeypatch):
    with open(bundle / "model.safetensors", "wb") as file:
        file.truncate(2**40)  # a hole: it takes no space
    assert "1,099,511,627,776 bytes; at most 536,870,912 are read" in refusal(bundle)
    monkeypatch.setitem(under_test.FILES, "bundle.json", 1)
    (bundle / "model.safetensors").unlink()
    assert "bundle.json has 2 bytes; at most 1" in refusal(bundle)


def test_where_a_system_lacks_what_windows_lacks_it_is_read_all_the_same(bundle, tmp_path, monkeypatch):
    expected = read_folder(bundle)
    monkeypatch.setattr(os, "supports_dir_fd", set())
    for flag in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        monkeypatch.delattr(os, flag)
    assert read_folder(bundle) == expected
    (tmp_path / "outside").write_bytes(b"secret")
    (bundle / "model.onnx").symlink_to(tmp_path / "outside")
    assert "model.onnx is a symbolic link" in refusal(bundle)
    assert "no such file or directory" in refusal(tmp_path / "nowhere")
    private, _ = new_key(tmp_path / "k.pem")
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY")


@pytest.mark.parametrize("content", [b"\x80\x04\x95\x00", b"\xff\xfe", b"a\0b", b"\x7fELF\0"])
def test_text_that_is_none_is_refused(bundle, content):
    (bundle / "MODEL_CARD.md").write_bytes(content)
    assert "MODEL_CARD.md is not text" in refusal(bundle)


def test_a_folder_that_cannot_be_read_says_why(tmp_path):
    assert "no such file or directory" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "not a directory" in refusal(tmp_path / "file")


def test_disguises_are_told_apart():
    import pickle

    for protocol in (0, 2, 3, 4, 5):
        content = pickle.dumps({"a": 1}, protocol)
        assert "pickle" in disguise(content), content
    assert "zip" in disguise(b"PK\x03\x04..") and "Keras" in disguise(b"\x89HDF\r\n")
    assert not disguise((0x0480).to_bytes(8, "little") + b"{")  # a safetensors header of 1,152 bytes


def test_a_version_is_a_hash_over_all_files(frozen):
    files = {file.name: file.read_bytes() for file in frozen.iterdir()}
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    assert version_of(files) == hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    assert version_of(files | {"report.html": b""}) != version_of(files)
