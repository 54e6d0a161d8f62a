import pytest

from keensight.serving.limits import Limits, RefusalError
from keensight.serving.uploads import tidy, uploads

FORM = "multipart/form-data; boundary=B"


def form(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


def part(content: bytes, disposition: bytes = b'form-data; name="f"; filename="a.png"') -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n\r\n" + content


def test_files_come_in_order_and_fields_by_name():
    body = form(
        part(b"one"), part(b"no file", b'form-data; name="x"'), part(b"two\r\n--", b'form-data; name="g"; filename="b"')
    )
    sent = uploads(FORM, body, Limits())
    found = sent.pictures
    assert sent.fields == {"x": "no file"}
    assert [(upload.file, upload.content) for upload in found] == [("a.png", b"one"), ("b", b"two\r\n--")]


def test_an_empty_file_is_a_file():
    (found,) = uploads(FORM, form(part(b"")), Limits()).pictures
    assert found.content == b""


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        (FORM, b"", 400, "bad_form"),
        (FORM, b"nonsense", 400, "bad_form"),
        (FORM, form(part(b"x"), end=b""), 400, "bad_form"),
        (FORM, form(part(b"x"), end=b"--"), 400, "bad_form"),
        ("multipart/form-data", form(part(b"x")), 400, "bad_form"),
        (FORM, form(part(b"x", b'form-data; name="x"')), 400, "no_picture"),
        (FORM, form(b"X: " + b"y" * 9000 + b"\r\n\r\n"), 400, "bad_form"),
        (FORM, form(*[part(b"", b'form-data; name="x"')] * 17), 413, "too_many_fields"),
        (FORM, form(*[part(b"x")] * 33), 413, "too_many_pictures"),
        (FORM, form(part(b"\r\n--Bx" * 20_000)), 413, "too_many_pictures"),
        (FORM, form(part(b"x"), *[part(b"y", b'form-data; name="model"')] * 2), 400, "parameter_twice"),
        (FORM, form(part(b"x" * 2000, b'form-data; name="file"')), 400, "no_file"),  # a picture without a file name
        (FORM, form(b"Content-Transfer-Encoding: base64\r\n" + part(b"eA==")), 415, "unsupported_encoding"),
        ("multipart/mixed; boundary=B", form(part(b"x")), 415, "unsupported_media_type"),
        ("text/html", b"x", 415, "unsupported_media_type"),
        ("", b"", 400, "no_picture"),
    ],
)
def test_forms_that_are_refused(kind, body, status, code):
    with pytest.raises(RefusalError) as refused:
        uploads(kind, body, Limits())
    assert (refused.value.status, refused.value.code) == (status, code)


def test_a_coding_that_changes_nothing_is_no_matter():
    (found,) = uploads(FORM, form(b"Content-Transfer-Encoding: binary\r\n" + part(b"x")), Limits()).pictures
    assert found.content == b"x"


@pytest.mark.parametrize(
    ("name", "tidied"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.png", "b.png"),
        ("a\x00\x1b[2Jb", "a[2Jb"),
        ("x" * 300, "x" * 200),
        ("", ""),
    ],
)
def test_names_are_tidied(name, tidied):
    assert tidy(name) == tidied
