"""keensight verify."""

from __future__ import annotations

from pathlib import Path

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say


@options_of("verify.verify")
def verify(*, bundle: Path, key: Path, json: Json = False) -> int:
    """Verify, and print which files the signature covers."""
    verified = verbs.verify.verify(bundle, key=key)
    if json:
        print_json({"bundle": str(verified.bundle), "verified": True, "key": verified.key, "files": verified.files})
    else:
        say(f"verified       {verified.bundle}: {', '.join(verified.files)}")
        say(f"signed by      the key {verified.key[:16]}, {key}")
    return 0
