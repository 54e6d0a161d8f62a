"""keensight sign."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.errors import UsageError


@options_of("sign.sign")
def sign(
    *,
    bundle: Path | None = None,
    key: Path | None = None,
    new_key: Path | None = None,
    json: Json = False,
) -> int:
    """Sign, and print by which key.

    Args:
        new_key: Make a private key in this file, and the public one beside it in .pub; then sign with it.
    """
    if key is not None and new_key is not None:
        raise UsageError(
            "Both --key and --new-key were given; only one is accepted. --key signs with an existing key, --new-key "
            "makes one first. Leave one out."
        )
    if (key is None and new_key is None) or (bundle is None and new_key is None):
        raise UsageError(
            "Signing takes a bundle and the signer's private key: keensight sign BUNDLE --key FILE. If there is no key "
            "yet, --new-key FILE makes one, with or without a bundle to sign."
        )
    said: dict[str, str | list[str]] = {}
    if new_key is not None:
        from keensight.bundle.keys import new_key as make

        key, public = make(new_key)
        said |= {"private_key": str(key), "public_key": str(public)}
    if bundle is not None and key is not None:
        ask = (lambda: getpass(f"Password of {key}: ")) if sys.stdin.isatty() else None
        signed = verbs.sign.sign(bundle, key=key, ask=ask)
        said |= {
            "bundle": str(signed.bundle),
            "signature": str(signed.signature),
            "key": signed.key,
            "files": list(signed.files),
        }
    if json:
        print_json(said)
        return 0
    if new_key is not None:
        say(f"private key    {said['private_key']}: anyone who has it can sign, so keep it secret")
        say(f"public key     {said['public_key']}: give it to those who verify")
    if bundle is not None:
        say(f"signed         {said['bundle']}: {', '.join(said['files'])}")
        say(f"signature      {said['signature']}, by the key {said['key'][:16]}")
    return 0
