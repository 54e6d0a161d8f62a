import pytest

from keensight.data.patterns import Fields, cut_labels, label_pattern
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
        ("{label...}_*", "american_bulldog_12.jpg", Fields("american_bulldog", None)),  # dots: where it last occurs
        ("{label...}_{number}", "Abyssinian_1.jpg", Fields("Abyssinian", None)),
        ("{label...}_{group}_*", "pit_bull_ann_3.jpg", Fields("pit_bull", "ann")),
        ("{group...}_{label}", "a_b_c.png", Fields("c", "a_b")),
        ("*_{label...}__*", "x_a_b__c__d.png", Fields("a_b__c", None)),
        ("{label...}_v?_*", "a_v1_v2_3.png", Fields("a_v1", None)),
        ("{label...}", "a_b.png", Fields("a_b", None)),
        ("{group}_{label...}_x", "g_x.png", None),
        ("{label...}_*", "_12.png", None),
    ],
)
def test_label_patterns(pattern, name, expected):
    assert label_pattern(pattern)(name) == expected


@pytest.mark.parametrize(
    "pattern", ["*", "{scene}_*", "{label}{scene}", "{label}*", "{label}_{label}", "{label", "{}_x",
                "{label...}_{group...}_*", "{label..}_*", "{...}_{label}"],
)  # fmt: skip
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    with pytest.raises(UsageError, match="Write it like"):
        label_pattern(pattern)


def test_a_hostile_name_comes_to_an_end():
    """A search that went back on its steps would try 20,000 over 9 of them, and outlast us all."""
    assert label_pattern("*_{label}_*_*_*_*_*_*_*_x")("_" * 20_000 + "y.png") is None
    assert label_pattern("*_{label...}_*_*_*_*_*_*_*_x")("_" * 20_000 + "y.png") is None


def test_labels_that_look_cut():
    """Words between two separators may belong to the label; dates, places and numbers do not."""

    def cut(pattern, *names):
        fields = label_pattern(pattern)
        return cut_labels(pattern, {name: fields(name).label for name in names})

    pets = ["american_bulldog_1.jpg", "american_pit_bull_terrier_38.jpg", "Abyssinian_1.jpg", "english_setter_2.jpg"]
    assert cut("{label}_*", *pets) == {"american": ["american_bulldog", "american_pit_bull_terrier"]}
    assert cut("{label}_{number}", *pets) == {"american": ["american_bulldog", "american_pit_bull_terrier"]}
    assert cut("{label...}_*", *pets) == {}
    assert cut("{label}__*", "0__20140905_1805__-122.07_37.70.png", "0__20150101_0101__-1.0_3.1.png") == {}
    assert cut("{label}.*", "cat.1.jpg", "cat.2.jpg") == {}
