"""A bundle as one HTML file that answers in a browser: network, weights, runtime and page inside, nothing loaded.

Scripts that a page loads from beside it are refused for a file that was opened by a double click, so all is inline. The
page's own policy lets it connect to nothing: pictures cannot leave it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from dataclasses import asdict

from keensight.data.looks import BLANK_LEVELS
from keensight.deploy.release import Release
from keensight.deploy.templates import template
from keensight.deploy.web_runtime import WebRuntime
from keensight.serving.registry import accuracy_of, warnings_of
from keensight.serving.static import PAGE
from keensight.version import __version__

SCRIPTS = ("resize.js", "jpeg.js", "picture.js", "answer.js", "page.js")  # each imports only from those before it
FILE = "index.html"
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*(//# sourceMappingURL=\S+\s*)?\Z")
_WANTED = ("InferenceSession", "Tensor", "env")


def one_page(release: Release, runtime: WebRuntime) -> dict[str, bytes]:
    """Return the content of the page's one file, by its name."""
    style, script = (PAGE / "style.css").read_text(), _script(runtime.script.decode())
    page = template("page/index.html")
    values = {
        "facts": _safe(json.dumps(_facts(release), ensure_ascii=False)),
        "model": _packed(release.bundle.files["model.onnx"]),
        "wasm": _packed(runtime.wasm),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "title": html.escape(release.name),
    }
    return {FILE: re.sub(r"\$([a-z_]+)", lambda found: values[found[1]], page).encode()}


def _facts(release: Release) -> dict[str, object]:
    """Return what the page needs to know of its model beside the network."""
    bundle, info = release.bundle, release.bundle.info
    size = bundle.preprocessing
    return {
        "name": release.name,
        "version": release.version,
        "keensight": __version__,
        "labels": list(bundle.labels),
        "height": size.height,
        "width": size.width,
        "channels": size.channels,
        "fit": size.fit,
        "borders": asdict(bundle.borders),
        "rejector": None if info.rejector is None else asdict(info.rejector),
        "abstain_below": bundle.abstain_below,
        "blank_levels": BLANK_LEVELS,
        "accuracy": accuracy_of(info.metrics),
        "warnings": warnings_of(info.warnings),
        "verified_by": bundle.verified_by,
    }


def _script(runtime: str) -> str:
    """Return one module: the runtime as `ort`, and the page's own modules, which share their names."""
    found = _EXPORTS.search(runtime)
    assert found is not None, "its package is pinned by its hash"
    names = {public: own for own, _, public in (each.strip().partition(" as ") for each in found[1].split(","))}
    exported = ", ".join(f"{public}: {names[public]}" for public in _WANTED)
    own = [(PAGE / "dom.js").read_text(), *(template(f"page/{name}") for name in SCRIPTS)]
    parts = [f"const ort = (() => {{\n{runtime[: found.start()]}\nreturn {{ {exported} }};\n}})();"]
    parts += [
        re.sub(r"^import .*\n|^export (?=const|function|async|class)", "", each, flags=re.MULTILINE) for each in own
    ]
    return "\n".join(parts).replace("</script", r"<\/script")


def _safe(json_text: str) -> str:
    """Return JSON in which no text ends the element that it stands in, whatever labels say."""
    return json_text.replace("<", "\\u003c")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
