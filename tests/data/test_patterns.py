import pytest

from keensight.data.patterns import Fields, label_pattern
from keensight.errors import UsageError


@pytest.mark.parametrize(
    "pattern,name,expected",
    [
        ("{label}__*", "1__20170705__-118.5_34.1.png", Fields("1", None)),
        ("{label}__{scene}__{lon}_{lat}", "0__2014_0905__-122.07_37.70.png", Fields("0", None)),
        ("*_{label}", "a_b_c.jpg", Fields("b_c", None)),  # a field or * ends where the text after it first occurs
        ("{group}-??-{label}", "p7-01-cat.jpeg", Fields("cat", "p7")),
        ("{label}.*", "cat.1.jpg", Fields("cat", None)),
        ("img{label}", "img3.png", Fields("3", None)),
        ("{label}[x]", "cat[x].png", Fields("cat", None)),
        ("{label}__*", "cat_1.png", None),
        ("{label}?", "cats.png", Fields("cat", None)),
        ("*a{label}b*c", "xa1b_b_c.png", Fields("1", None)),
    ],
)
def test_label_patterns(pattern, name, expected):
    assert label_pattern(pattern)(name) == expected


@pytest.mark.parametrize(
    "pattern", ["*", "{scene}_*", "{label}{scene}", "{label}*", "{label}_{label}", "{label", "{}_x"]
)
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    with pytest.raises(UsageError, match="Write it like"):
        label_pattern(pattern)


def test_a_hostile_name_comes_to_an_end():
    """A search that went back on its steps would try 20,000 over 9 of them, and outlast us all."""
    assert label_pattern("*_{label}_*_*_*_*_*_*_*_x")("_" * 20_000 + "y.png") is None
