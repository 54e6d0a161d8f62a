"""keensight verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import print_json


def verify(bundle: Path, /, *, key: Path, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check that a bundle is what the owner of a key signed.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    key
        The signer's public key: EC, in a PEM file.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.verify import verify as verb

    verified = verb(bundle, key=key)
    if json:
        print_json({"bundle": str(verified.bundle), "verified": True, "key": verified.key, "files": verified.files})
    else:
        print(f"verified       {verified.bundle}: {', '.join(verified.files)}")
        print(f"signed by      the key {verified.key[:16]}, {key}")
    return 0
