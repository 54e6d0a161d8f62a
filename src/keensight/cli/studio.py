"""keensight studio."""

from __future__ import annotations

from typing import Any

from keensight import verbs
from keensight.cli.options import options_of
from keensight.cli.output import say


@options_of("studio.studio")
def studio(**asked: Any) -> int:
    """Open the studio, and print its address."""

    def ready(url: str) -> None:
        say(f"studio  {url}", "Open it in a browser on this machine. Ctrl-C ends the studio; nothing is lost.")

    verbs.studio.studio(**asked, on_ready=ready)
    return 0
