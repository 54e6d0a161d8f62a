"""keensight's own wheel, packed from the installed package: the image gets the very code that wrote its folder."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from keensight.errors import KeensightError
from keensight.version import __version__

WHEEL = "Wheel-Version: 1.0\nGenerator: keensight\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
COMPILED = (".so", ".pyd")  # for this processor and this Python; an image works without them


def own_wheel() -> tuple[str, bytes]:
    """Return the wheel's file name and its bytes, which are the same for the same code.

    Raises KeensightError if keensight is not installed.
    """
    try:
        installed = distribution("keensight")
    except PackageNotFoundError:
        raise KeensightError(
            "keensight is not installed here, so there is nothing to put into an image. Install it with "
            "`pip install keensight`, or from its source with `pip install .`."
        ) from None
    home = Path(str(files("keensight")))
    content = {
        f"keensight/{file.relative_to(home).as_posix()}": file.read_bytes()
        for file in home.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in COMPILED
    }
    info = f"keensight-{__version__}.dist-info"
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if text := installed.read_text(name):
            content[f"{info}/{name}"] = text.encode()
    content[f"{info}/WHEEL"] = WHEEL.encode()
    record = "".join(f"{name},{_digest(content[name])},{len(content[name])}\n" for name in sorted(content))
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name)  # of 1980, whenever it is made: the same files make the same bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[name], zipfile.ZIP_DEFLATED)
    return f"keensight-{__version__}-py3-none-any.whl", packed.getvalue()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
