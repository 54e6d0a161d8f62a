"""The API's description as a plain page, for people."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from keensight.serving.schemas import Json

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
h2 { font-size: 1.1rem; margin: 2rem 0 .25rem } code { font: .95em ui-monospace, monospace }
h2 b { color: #1d4ed8 } p { margin: .25rem 0 } table { border-collapse: collapse; margin: .5rem 0 }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #e5e7eb } h2 b, a { color: #93c5fd } }
"""


def _said(parameter: Json) -> str:
    values = parameter["schema"].get("enum")
    return f"{' or '.join(values)}. {parameter['description']}" if values else parameter.get("description", "")


def _contents(document: Json, part: Json) -> list[str]:
    """Return the content types of a body or an answer, with the fields of those that are JSON."""
    found = []
    for kind, content in part.get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        fields = document["components"]["schemas"][name]["properties"] if name else {}
        found.append(f"{kind} {{{', '.join(fields)}}}" if fields else kind)
    return found


def docs_page(document: Json) -> tuple[str, str]:
    """Return a page that shows an OpenAPI document, and the Content-Security-Policy that it needs."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{escape(info['title'])}: the interface</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}",
        '<p>For programs: <a href="/openapi.json">/openapi.json</a>. '
        "Errors are <code>{&quot;error&quot;: {&quot;code&quot;, &quot;message&quot;}, &quot;request_id&quot;}</code>, "
        "and below /v2 <code>{&quot;error&quot;: message}</code>.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2><p>{escape(operation['summary'])}"
            )
            rows = [
                (f"<code>{escape(p['name'])}</code> ({p['in']})", _said(p)) for p in operation.get("parameters", ())
            ]
            if body := operation.get("requestBody"):
                rows.append(("body", "; ".join(_contents(document, body))))
            rows += [
                (code, "; ".join([answer["description"], *(_contents(document, answer) if code < "300" else ())]))
                for code, answer in operation["responses"].items()
            ]
            cells = "".join(f"<tr><td>{name}<td>{escape(text)}" for name, text in rows)
            parts.append(f"<table>{cells}</table>")
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    csp = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return "\n".join(parts), csp
