"""Options that are made from a verb's signature, against the signature that Python itself sees."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from cyclopts import App, Parameter
from docstring_parser import parse

import keensight
from keensight.cli import VERBS
from keensight.cli.options import options_of
from keensight.errors import UsageError
from keensight.serving.limits import Batching, Limits

OTHERWISE = {"tune": {"search"}, "sign": {"bundle", "key"}, "serve": {"bundles"}}  # defaults that a command has itself


def run(command, *words: str) -> None:
    App(default_command=command, default_parameter=Parameter(negative=()))(
        words, exit_on_error=False, print_error=False, result_action="return_value"
    )


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo", "recipes"}))
def test_what_is_read_from_the_source_is_what_python_sees(verb):
    """Every parameter of a verb has its help, and its default is the command's, too."""
    family, _, name = verb.replace("-", "_").rpartition(" ")
    function = getattr(keensight, f"{family}_{name}" if family else name)
    command = getattr(importlib.import_module(f"keensight.cli.{family or name}"), name)
    pythons, commands = (inspect.signature(each).parameters for each in (function, command))
    assert {each.arg_name for each in parse(inspect.getdoc(function) or "").params} == set(pythons)
    same = set(pythons) & set(commands) - OTHERWISE.get(verb, set())
    assert same or verb == "sign"
    for each in same:
        is_rest = commands[each].kind is inspect.Parameter.VAR_POSITIONAL  # () if nothing is given, or it is required
        assert pythons[each].default in (((), inspect.Parameter.empty) if is_rest else (commands[each].default,))


def test_a_verbs_own_default_holds_where_an_option_is_left_out():
    seen: dict[str, Any] = {}

    @options_of("serve.serve")
    def command(
        *,
        bundles: tuple[str, ...] = (),
        limits: Limits,
        batching: Batching,
        grace_s: Annotated[float, Parameter(name="--grace")],
        **asked: Any,
    ) -> int:
        seen.update(asked, bundles=bundles, limits=limits, batching=batching, grace_s=grace_s)
        return 0

    run(command, "a", "b", "--timeout", "7", "--batch-wait", "9", "--port", "1")
    assert seen["bundles"] == ("a", "b")
    assert seen["limits"] == Limits(request_s=7.0)
    assert seen["batching"] == Batching(wait_us=9)
    assert seen["port"] == 1
    given = inspect.signature(keensight.serve).parameters
    assert {name: given[name].default for name in ("host", "key", "grace_s")} == {
        name: seen[name] for name in ("host", "key", "grace_s")
    }
    with pytest.raises(UsageError, match="--queue is '1.5'"):
        run(command, "--queue", "1.5")


@dataclass(frozen=True)
class Knobs:
    """Settings, one of which is not for the command line."""

    most: int = field(default=3, metadata={"option": "at-most", "help": "The most."})
    inner: int = 5


def test_fields_without_help_are_no_options():
    seen: list[Knobs] = []

    @options_of("verify.verify", without=["bundle", "key"])
    def command(*, knobs: Knobs) -> int:
        seen.append(knobs)
        return 0

    run(command)
    run(command, "--at-most", "4")
    assert seen == [Knobs(), Knobs(most=4)]
    assert list(inspect.signature(command).parameters) == ["most"]
