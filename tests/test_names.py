import functools
import re

from keensight.names import natural_order


def test_natural_order_agrees_with_a_comparison_by_value():
    names = ["10", "2", "a10", "a9", "A9b", "007", "7", "b", "", "a", "1.5", "x" * 5 + "9" * 5000]

    def parts(name):
        return [int(p[:4000]) if p.isdigit() else p.lower() for p in re.split("([0-9]+)", name)]

    def compare(a, b):
        return (parts(a) > parts(b)) - (parts(a) < parts(b)) or (a > b) - (a < b)

    assert natural_order(names) == sorted(names, key=functools.cmp_to_key(compare))
