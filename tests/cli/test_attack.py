"""What `keensight attack` prints."""

import pytest


def test_the_command_prints_a_table_or_json(trained, warm):
    words = ["attack", trained.bundle, "digits", "--eps", "0.02", "4/255", "--most", "30", "--steps", "5"]
    table = warm(*words)
    assert table.status == 0 and "clean " in table.out and "  0.01569  " in table.out
    found = warm(*words, "--json").json()
    assert [each["eps"] for each in found["survivals"]] == pytest.approx([0, 4 / 255, 0.02])
    assert found["n"] == 30 and all(each["n"] == 30 for each in found["survivals"])
    wrong = warm("attack", trained.bundle, "digits", "--eps", "a/b")
    assert wrong.status == 2 and "--eps is 'a/b'" in wrong.err
