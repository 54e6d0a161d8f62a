"""What hosts and services send to do harm: it is left out, and stays text."""

import io
import re

import pytest
from PIL import Image

from keensight.care.gather.manifest import read_manifest

SEARCH = "https://api.openverse.org/v1/images/"


def bomb(width, height):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


HOSTILE = {
    "html": (b"<!DOCTYPE html><html>Not here</html>", "an HTML page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG format"),
    "program": (b"\x7fELF" + bytes(100), "a program and not a picture"),
    "script": (b"#!/bin/sh\ntouch /tmp/executed\n", "text and not a picture"),
    "pickle": (b"\x80\x04\x95" + bytes(50), "a data file and not a picture"),
    "zip": (b"PK\x03\x04" + bytes(50), "a zip archive"),
    "empty": (b"", "an empty file"),
    "icon": ("small", "pixels large"),
    "bomb": (bomb(9000, 9000), "megapixels"),
    "cut": ("cut", "damaged or cut short"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "text and not a picture"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_left_out_whatever_it_says_it_is(pictures, tmp_path, name):
    content, why = HOSTILE[name]
    content = {"small": pictures.picture(1, 16, 16), "cut": pictures.picture(1)[:1500]}.get(content, content)
    pictures.results("cat", of=4)
    types = {"Content-Type": "image/jpeg"}
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(
            content if asked.path == "/1.jpg" else pictures.picture(int(asked.path[1:-4])), 200, types
        ),
    )
    done = pictures.gather(["cat"], tmp_path)
    assert done.labels == {"cat": 3}
    (reason,) = done.left_out
    assert why in reason
    assert len(list((tmp_path / "cat").iterdir())) == 3
    pictures.asked.clear()
    assert pictures.gather(["cat"], tmp_path).new == 0
    assert pictures.asked == []


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/1.jpg", "http://169.254.169.254/latest/", "http://10.0.0.8/1.jpg", "http://[::1]/1.jpg",
     "file:///etc/passwd", "http://localhost:8000/1.jpg"],
)  # fmt: skip
def test_pictures_that_lead_into_private_networks_are_left_out(pictures, tmp_path, target):
    """Named by a service, or by a redirect."""
    found = [{"url": target, "license": "by"}, {"url": "https://hostile.example/1.jpg", "license": "by"},
             {"url": "https://pictures.example/1.jpg", "license": "by"}]  # fmt: skip
    pictures.on(SEARCH, {"results": found, "page_count": 1})
    pictures.on("https://hostile.example/", pictures.says(status=302, headers={"Location": target}))
    done = pictures.gather(["cat"], tmp_path)
    assert done.labels == {"cat": 1}
    assert all("public" in why or "begin with http" in why or "port" in why for why in done.left_out), done.left_out
    assert sum(done.left_out.values()) == (1 if target.startswith("file") else 2)


def test_hostile_text_stays_text(pictures, tmp_path):
    nasty = "]<script>alert(1)</script>](javascript:alert(1)) \x1b[2J\u202e | `x`"
    found = {
        "url": "https://pictures.example/1.jpg", "license": "by", "creator": nasty, "title": nasty * 100,
        "creator_url": "javascript:alert(1)", "foreign_landing_url": "https://example.org/<b>", "license_url": "data:x",
    }  # fmt: skip
    pictures.on(SEARCH, {"results": [found], "page_count": 1})
    done = pictures.gather(["cat"], tmp_path)
    (row,) = read_manifest(done.manifest)
    assert (row.creator_url, row.landing_page, row.licence_url) == (
        "",
        "",
        "https://creativecommons.org/licenses/by/4.0/",
    )
    assert len(row.title) <= 300
    page = done.attribution.read_text()
    assert not set(page + row.creator) & {"\x1b", "\u202e"}
    credit = next(line for line in page.splitlines() if line.startswith("- `"))
    shown = re.sub(r"\\.|`[^`]*`|\[CC BY 4.0\]|\(<https://[^<>]*>\)", "", credit)
    assert not set(shown) & set("<>`*()"), credit
    assert "script" in row.title + row.creator or "alert" in row.creator


def test_paths_are_ours_whatever_an_address_says(pictures, tmp_path):
    pictures.on(
        SEARCH,
        {
            "results": [{"url": "https://pictures.example/../../../etc/cron.d/1%2f..%2fx.sh", "license": "by"}],
            "page_count": 1,
        },
    )
    pictures.gather(["cat"], tmp_path / "out")
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files)[0] == "out/ATTRIBUTION.md"
    assert len([file for file in files if re.fullmatch(r"out/cat/openverse-[0-9a-f]{16}\.jpg", file)]) == 1
    assert len(files) == 4
