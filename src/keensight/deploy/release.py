"""What is deployed: a verified bundle, its name, its version, and the public key of its signature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keensight.bundle.folder import version_of
from keensight.bundle.read import Bundle
from keensight.deploy.names import check_name, made_valid
from keensight.errors import GateError, UsageError
from keensight.inference.predictor import load


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle to be deployed, and whether servers explain its answers.

    `public_key` is PEM, or None if servers are not to verify the bundle.
    """

    name: str
    version: str
    bundle: Bundle
    public_key: bytes | None
    explains: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """What servers are started with beyond their bundle, key and address."""
        return () if self.explains else ("--no-explain",)


def release_of(
    bundle: str | Path, key: str | Path | None, unsigned: bool, name: str | None, explains: bool = True
) -> Release:
    """Read, verify and load a bundle. Nothing is written.

    Raises:
        BundleError: there is none, or it cannot be loaded.
        GateError: it was changed after it was signed; or it is not signed, or not by `key`, without `unsigned`.
        UsageError: the name is not valid; or there are both `key` and `unsigned`, or for a signed bundle neither.
    """
    if key is not None and unsigned:
        raise UsageError("--key verifies the bundle, and --unsigned says not to. Give one of the two.")
    if name is not None:
        check_name(name)
    loaded = load(bundle, key).bundle
    if key is None and not unsigned:
        if not loaded.is_signed:
            raise GateError(
                f"{loaded.path} is not signed, so servers cannot check that it is still what you trained. Sign it with "
                f"`keensight sign {loaded.path} --key PRIVATE-KEY` and give the public key with --key; or deploy it "
                "unsigned with --unsigned."
            )
        raise UsageError(
            f"{loaded.path} is signed, and there is no key to verify it with. Give its signer's public key with --key: "
            "every server will verify the bundle before it answers. Or leave that out with --unsigned."
        )
    public_key = None
    if key is not None:
        from keensight.bundle.keys import load_public, public_pem

        public_key = public_pem(load_public(key))
    return Release(name or made_valid(loaded.name), version_of(loaded.files), loaded, public_key, explains)
