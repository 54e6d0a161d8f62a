import pytest

from keensight.data.spellings import spellings


@pytest.mark.parametrize(
    "names",
    [
        ("Cat", "cat"), ('"cat"', "cat"), ("'cat'", "cat"), ("0", "0.0"), ("1", "1e0"), ("01", "1"), ("-0", "0"),
        ("New York", "New_York"), ("New  York", "new-york"), ("cafe\u0301", "caf\u00e9"), ("cat\u200b", "cat"),
        ("cat\u00a0", "cat"), ("\uff11", "1"), ("STRASSE", "straße"),
    ],
)  # fmt: skip
def test_one_name_in_two_spellings_is_told(names):
    (found,) = spellings([*names, "dog"])
    assert found.kind == "label" and found.evidence == {"spellings": [list(names)]}


@pytest.mark.parametrize(
    "names", [("0", "1", "10"), ("cat", "cats"), ("a", "b"), ("1.5", "1.50001"), ("-1", "1"), ("+", "-"), ('"', "_")]
)
def test_different_names_are_not(names):
    assert spellings(names) == []


@pytest.mark.parametrize("name", ["nan", "NaN", "None", "null", "N/A", "#N/A", "?"])
def test_a_word_for_no_label_is_told(name):
    (found,) = spellings([name, "cat"])
    assert found.evidence == {"missing": [name]}
