"""Options and help of a command, made from its verb's signature and docstring.

A file in `cli/` declares only what is different on the command line, and prints:

    @options_of("evaluate.evaluate")
    def evaluate(*, json: Json = False, **asked: Any) -> int:
        result = verbs.evaluate.evaluate(**asked)

A command gets every parameter of its verb by name, as `asked` or as one that it declares itself. One that it declares
has the type, default and help written there; missing parts are the verb's. A declared dataclass is one option for
each of its fields that have help in their metadata. `json` and other names that the verb does not have come last.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from cyclopts import Parameter, Token
from docstring_parser import DocstringStyle, parse

from keensight.errors import UsageError

Command = Callable[..., int]
Json = Annotated[bool, Parameter(help="Print one JSON object on stdout.")]

VERBS = Path(__file__).parents[1] / "verbs"
ARGUMENTS = (  # positional: without dashes
    "bundle", "bundles", "data", "decisions", "file", "folder", "pictures", "queries", "scene",
    "thing",
)  # fmt: skip
AS_TYPED = ("data", "pictures", "thing")  # as a Path, ./mnist would be the name mnist, and a URL no URL
Kind = inspect.Parameter
EMPTY = inspect.Parameter.empty  # no default
PYTHON_ONLY = ("watcher", "ask", "on_ready", "network")


def whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts itself would round 1.5 to 2. Raises UsageError for anything else."""
    token = tokens[0]
    try:
        return int(token.value)
    except ValueError:
        raise UsageError(
            f"{token.keyword} is '{token.value}'. A whole number is accepted, such as {token.keyword} 20."
        ) from None


def fractions(_: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Read numbers, also as fractions such as 4/255. Raises UsageError for anything else."""
    return tuple(map(_number, tokens))


def _number(token: Token) -> float:
    from keensight.values.threats import fraction  # with NumPy, which most commands' help does without

    try:
        return fraction(token.value)
    except ValueError:
        raise UsageError(
            f"{token.keyword} is '{token.value}'. Numbers are accepted, such as {token.keyword} 0.1 4/255."
        ) from None


def place(_: Any, tokens: Sequence[Token]) -> str:
    """Read a path or URL. Raises UsageError for an empty text, as of a variable that is not set."""
    token = tokens[0]
    if not token.value:
        advice = ", or leave the option out" if token.keyword else ""
        raise UsageError(f"{token.keyword or 'A path'} is an empty text. Give a path{advice}.")
    return token.value


def path(kind: Any, tokens: Sequence[Token]) -> Path:
    """Read a path. Raises UsageError for an empty text, which Path would take for the current folder."""
    return Path(place(kind, tokens))


NUMBERS: Any = Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True, converter=fractions)]
TYPES: Mapping[str, Any] = {  # the type on the command line, by a parameter's annotation
    "bool": bool,
    "float": float,
    "int": Annotated[int, Parameter(converter=whole)],
    "int | None": Annotated[int | None, Parameter(converter=whole)],
    "str": str,
    "str | None": str | None,
    "str | Path": Path,
    "str | Path | None": Path | None,
    "str | Path | Iterable[str | Path]": tuple[Path, ...],
    "str | Iterable[str]": tuple[str, ...],  # of AS_TYPED
    "Data | Iterable[Data]": tuple[str, ...],  # the same; what is in hand is for Python alone
    "Sequence[str]": tuple[str, ...],
    "float | str | None": Annotated[str | None, Parameter(allow_leading_hyphen=True)],
    "Sequence[float] | None": NUMBERS,
    "float | str | Sequence[float | str] | None": NUMBERS,
}


class Option(NamedTuple):
    """A parameter of a command: its type on the command line, its default, and its help."""

    type: Any
    default: Any = EMPTY
    help: str = ""

    def named(self, name: str, shown: Collection[str]) -> inspect.Parameter:
        """Return the parameter for cyclopts. `shown` are the names of all parameters, which help texts may mention."""
        assert self.type is not None, f"{name} has no type here: add one to TYPES, or declare it in the command."
        read, *more = get_args(self.type) if get_origin(self.type) is Annotated else (self.type,)
        is_argument = name in ARGUMENTS
        are_many = is_argument and get_origin(read) is tuple
        told: dict[str, Any] = {"help": _for_a_shell(self.help, shown)} if self.help else {}
        if read in (Path, Path | None):
            told["converter"] = path
        if are_many:
            told["required"] = self.default is EMPTY
        elif self.default is False or self.default == ():
            told["show_default"] = False
        return inspect.Parameter(
            name,
            Kind.VAR_POSITIONAL if are_many else Kind.POSITIONAL_ONLY if is_argument else Kind.KEYWORD_ONLY,
            default=EMPTY if are_many else self.default,
            **{"annotation": Annotated[(get_args(read)[0] if are_many else read, *more, Parameter(**told))]},
        )


def options_of(verb: str, *, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command the arguments and options of a verb, such as "train.train": the function `train` in its file.

    `without` are parameters of the verb that the command sets by itself.
    """

    def decorate(command: Command) -> Command:
        settings: dict[str, Any] = {}  # a declared dataclass, by the parameter's name
        options = {name: each for name, each in _of_verb(verb) if name not in without}
        for name, own in _of_command(command):
            if is_dataclass(own.type):
                settings[name] = own.type
                options.pop(name, None)
                options |= {each.name: _of_field(each) for each in shown_fields(own.type)}
                continue
            given = options.get(name, own)
            options[name] = Option(
                own.type,
                given.default if own.default is EMPTY else own.default,
                own.help or given.help,
            )
        parameters = [option.named(name, options) for name, option in options.items()]
        signature = inspect.Signature(sorted(parameters, key=lambda each: each.kind))

        def run(*args: Any, **kwargs: Any) -> int:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            asked = dict(given.arguments)
            for name, kind in settings.items():
                asked[name] = kind(**{each.name: asked.pop(each.name) for each in shown_fields(kind)})
            return command(**asked)

        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def shown_fields(settings: Any) -> list[Field[Any]]:
    """Return the fields of a dataclass, or of one of its values, that are options."""
    return [each for each in fields(settings) if "help" in each.metadata]


def _of_verb(verb: str) -> Iterator[tuple[str, Option]]:
    """Yield a verb's parameters, read from its source: importing it would load torch, which takes seconds."""
    module, _, name = verb.partition(".")
    tree = ast.parse((VERBS / f"{module}.py").read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    helps, args = _helps(ast.get_docstring(function)), function.args
    required = [None] * (len(args.args) - len(args.defaults))
    defaults = [*required, *args.defaults, *args.kw_defaults]
    for arg, default in zip([*args.args, *args.kwonlyargs], defaults, strict=True):
        if arg.arg not in PYTHON_ONLY:
            assert arg.annotation is not None
            written = ast.unparse(arg.annotation)
            kind = TYPES.get(written.replace("str | Path", "str") if arg.arg in AS_TYPED else written)
            value = EMPTY if default is None else ast.literal_eval(default)
            yield arg.arg, Option(kind, value, helps.get(arg.arg, ""))


def _of_command(command: Command) -> Iterator[tuple[str, Option]]:
    """Yield a command's own parameters."""
    types, helps = get_type_hints(command, include_extras=True), _helps(command.__doc__)
    for name, each in inspect.signature(command).parameters.items():
        if each.kind is not Kind.VAR_KEYWORD:
            kind = TYPES.get(command.__annotations__[name], types[name])
            yield name, Option(kind, each.default, helps.get(name, ""))


def _of_field(each: Field[Any]) -> Option:
    named = Parameter(name=f"--{each.metadata.get('option', each.name.replace('_', '-'))}")
    return Option(Annotated[TYPES[str(each.type)], named], each.default, each.metadata["help"])


def _helps(docstring: str | None) -> dict[str, str]:
    """Return the help for each parameter in a docstring's "Args:"."""
    found = parse(docstring or "", style=DocstringStyle.GOOGLE).params
    return {each.arg_name: " ".join((each.description or "").split()) for each in found}


def _for_a_shell(text: str, names: Collection[str]) -> str:
    """Write a parameter's help for the command line: `weights_only` becomes --weights-only, without backticks."""

    def named(quoted: re.Match[str]) -> str:
        name = quoted[1]
        if name not in names:
            return name
        return name.upper() if name in ARGUMENTS else f"--{name.replace('_', '-')}"

    return re.sub(r"`+([^`]+)`+", named, text)
