import shutil

from keensight import kernels


def test_they_are_compiled_where_there_is_a_compiler():
    assert kernels.library() is not None or shutil.which("cc") is None, "run pip install again"


def test_what_cannot_be_loaded_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    assert kernels.library.__wrapped__() is None
    (tmp_path / f"compiled{kernels.EXTENSION_SUFFIXES[0]}").write_bytes(b"for another processor")
    assert kernels.library.__wrapped__() is None
