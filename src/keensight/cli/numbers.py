"""Numbers on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from keensight.errors import UsageError


def whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts itself would round 1.5 to 2. Raises UsageError for anything else."""
    token = tokens[0]
    try:
        return int(token.value)
    except ValueError:
        raise UsageError(
            f"{token.keyword} is '{token.value}'. A whole number is accepted, such as {token.keyword} 20."
        ) from None


Whole = Annotated[int, Parameter(converter=whole)]
