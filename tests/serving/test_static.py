import pytest

from keensight.serving import app
from keensight.serving.static import page_files


def test_a_strict_list(tmp_path):
    for name in ("index.html", "app.js", "style.css", "icon.svg", ".secret.html", "notes.txt", "a b.js", "app.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.js").mkdir()
    found = page_files(tmp_path)
    assert set(found) == {"/", "/index.html", "/app.js", "/style.css", "/icon.svg"}
    assert found["/"] == (b"index.html", "text/html; charset=utf-8")
    assert found["/app.js"][1] == "text/javascript; charset=utf-8"


def test_a_folder_that_is_empty_or_missing_is_a_404(tmp_path, monkeypatch, make_client):
    assert page_files(tmp_path / "nothing") == page_files(tmp_path) == {}
    monkeypatch.setattr(app, "page_files", lambda: {})
    assert make_client().get("/").status_code == 404


def test_the_page_is_served(make_client, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html>")
    files = page_files(tmp_path)
    monkeypatch.setattr(app, "page_files", lambda: files)
    answer = make_client().get("/")
    assert (answer.status_code, answer.text) == (200, "<!doctype html>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/page/", "/..%2fapp.py", "//etc/passwd"])
def test_no_way_out(client, path):
    assert client.get(path).status_code == 404
