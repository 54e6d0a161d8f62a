import functools
import re

import pytest

from keensight.names import natural_order, printable


def test_natural_order_agrees_with_a_comparison_by_value():
    names = ["10", "2", "a10", "a9", "A9b", "007", "7", "b", "", "a", "1.5", "x" * 5 + "9" * 5000]

    def parts(name):
        return [int(p[:4000]) if p.isdigit() else p.lower() for p in re.split("([0-9]+)", name)]

    def compare(a, b):
        return (parts(a) > parts(b)) - (parts(a) < parts(b)) or (a > b) - (a < b)

    assert natural_order(names) == sorted(names, key=functools.cmp_to_key(compare))


@pytest.mark.parametrize(
    "name,shown",
    [
        ("plain Äpfel 猫 👩\u200d🔬.jpg", "plain Äpfel 猫 👩\u200d🔬.jpg"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb: dog (99%)\r\t", "a\\nb: dog (99%)\\r\\t"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),  # 8-bit CSI, delete
        ("gpj.\u202etac\u2066", "gpj.\\u202etac\\u2066"),
        ("\u2028\ufeff\u200e", "\\u2028\\ufeff\\u200e"),
        ("\udcff", "\\udcff"),
    ],
)
def test_a_terminal_is_sent_no_commands(name, shown):
    assert printable(name) == shown
