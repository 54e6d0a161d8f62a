"""keensight shard."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any, Literal

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted


@options_of("shard.shard")
def shard(*, fit: Literal["squash", "letterbox", "crop"], json: Json = False, **asked: Any) -> int:
    """Write shards, and print what was written."""
    with Terminal() as terminal:
        written = verbs.shard.shard(**asked, fit=fit, watcher=terminal)
    if json:
        print_json(asdict(written))
        return 0
    form = "encoded pictures" if written.shape is None else f"pixels, {'x'.join(map(str, written.shape))}"
    files = f"{counted(written.files, 'file')} of {counted(written.bytes, 'byte')}"
    say(f"wrote {written.out}: {written.pictures:,} {form}, in {files}")
    say(f"next  keensight train {shlex.quote(written.out)}")
    return 0
