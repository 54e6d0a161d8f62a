"""The folder that an image is built from: Dockerfile, requirements, keensight's wheel, the bundle, and the key."""

from __future__ import annotations

import hashlib
import json

from keensight.deploy.names import Image
from keensight.deploy.release import Release
from keensight.deploy.templates import fill, template
from keensight.deploy.wheel import own_wheel
from keensight.version import __version__


def docker_files(release: Release, image: Image) -> dict[str, bytes]:
    """Return the content of every file of the folder by its path."""
    wheel, packed = own_wheel()
    pinned = template("requirements.txt") + (
        f"keensight=={__version__} \\\n    --hash=sha256:{hashlib.sha256(packed).hexdigest()}\n"
    )
    values = {
        "name": release.name,
        "version": release.version,
        "image": str(image),
        "keensight": __version__,
        "options": "".join(f", {json.dumps(option)}" for option in release.options),
    }
    words = ["unsigned"] if release.public_key is None else ["signed"]
    found = {
        "Dockerfile": fill(template("Dockerfile"), values, words).encode(),
        "requirements.txt": pinned.encode(),
        f"wheels/{wheel}": packed,
        **{f"models/{release.name}/{name}": content for name, content in release.bundle.files.items()},
    }
    if release.public_key is not None:
        found["key.pub"] = release.public_key
    return found
