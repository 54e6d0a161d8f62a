import json

import pytest

from keensight.bundle.strict_json import strict_json


@pytest.mark.parametrize(
    "value", [{}, [], "a", 1.5, -3, None, {"a": [1, {"b": '[{"\\'}], "ü": True}, {"big": 2**63 - 1, "small": 1e-300}]
)
def test_json_is_read_as_the_standard_library_reads_it(value):
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        assert strict_json(text.encode()) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1, "b": {"c": 2, "c": 2}}', "the key 'c' comes twice"),
        (b"NaN", "it holds NaN"),
        (b"[-Infinity]", "it holds -Infinity"),
        (b"[1e999]", "it holds 1e999"),
        (b"1" * 21, "an integer has 21 digits"),
        (b"[" * 33 + b"]" * 33, "nested more than 32 deep"),
        (b'{"a":' * 100_000, "nested more than 32 deep"),
        (b"[" + b"[]," * 300_000 + b"0]", "more values than any bundle needs"),
        (b"[" + b"0," * 6_000_000 + b"0]", "more values than any bundle needs"),
        (b"\xff\xfe\x00", "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{} {}", "Extra data"),
        (b'"' + b'\\"' * 100_000, "Unterminated string"),
        (b"", "Expecting value"),
    ],
)
def test_hostile_json_is_refused(content, words):
    with pytest.raises(ValueError, match=words):
        strict_json(content)


def test_brackets_in_strings_are_no_nesting():
    assert strict_json(json.dumps("[" * 1000).encode()) == "[" * 1000
    assert strict_json(json.dumps(['\\"' * 50 + "[" * 50]).encode()) == ['\\"' * 50 + "[" * 50]
