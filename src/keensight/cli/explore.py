"""keensight explore."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import paragraph, print_json, say
from keensight.cli.terminal import Terminal


@options_of("explore.explore")
def explore(*, json: Json = False, **asked: Any) -> int:
    """Explore, and print what each class looks like and where the page is."""
    from keensight.pages.explore import in_words

    with Terminal() as terminal:
        result = verbs.explore.explore(**asked, watcher=terminal)
    if json:
        print_json(
            {
                "data": result.data,
                "out": str(result.out),
                "page": str(result.page),
                "pictures": result.num_pictures,
                "classes": list(result.classes),
                "findings": [asdict(each) for each in result.findings],
            }
        )
        return 0
    for each in result.classes:
        say(*paragraph(in_words(each), str(each["name"])))
    say(f"page  {result.page}")
    say(f"next  keensight audit {shlex.quote(result.data)}")
    return 0
