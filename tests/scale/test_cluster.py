"""What a cluster's address, its versions and its answers are worth; no cluster is needed."""

import sys

import pytest

from keensight.errors import RunError, UsageError
from keensight.machine import versions
from keensight.scale.cluster import check_address, check_versions, connected


def test_an_address_where_nobody_answers():
    with pytest.raises(RunError, match=r"Nobody answers at 127.0.0.1:9 .*ray start --head"):
        check_address("127.0.0.1:9")
    for wrong in ("auto", "head:port", ":"):
        with pytest.raises(UsageError, match=r"--cluster is '.*'. Give the head's address, such as 10.0.0.1:6379"):
            check_address(wrong)
    with pytest.raises(RunError, match="Nobody answers"):
        check_address("127.0.0.1:99999")


@pytest.mark.parametrize("asked", ["--workers", "--cluster"])
def test_without_ray_the_extra_is_named(monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=rf"{asked} needs Ray, .*keensight\[scale\]'; without {asked}"),
        connected(None, 2, asked),
    ):
        pass


def test_machines_with_other_versions_are_refused():
    own = versions()
    check_versions([{"host": "a", "versions": own}], own)
    b = {"host": "b", "versions": own | {"torch": "1.0"}}
    with pytest.raises(RunError, match=r"The machine b has torch 1.0, and here it is .* Install the same"):
        check_versions([{"host": "a", "versions": own}, b], ["python", "torch"])
    check_versions([b], ["python"])
    del b["versions"]["torch"]
    with pytest.raises(RunError, match="The machine b has torch not at all"):
        check_versions([b], ["torch"])
