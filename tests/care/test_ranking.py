from keensight.care.ranking import ranked
from keensight.values import Finding


def test_what_may_cost_more_comes_first():
    small_leak = Finding("leak", ("a", "b"), evidence={"share": 0.01})
    large_leak = Finding("leak", ("a", "b"), evidence={"share": 0.5})
    unsure = Finding("leak", ("a", "b"), 0.5, evidence={"share": 0.5})
    copies = Finding("identical", tuple("abcdefgh"))
    assert ranked([copies, small_leak, unsure, large_leak], 100) == (large_leak, unsure, small_leak, copies)
