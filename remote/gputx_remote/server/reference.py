"""The page at ``/docs``: the OpenAPI document as HTML that needs no script and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.55 system-ui, sans-serif; }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; font-weight: 600; }
section { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: 1rem 0; }
h2 { font: 600 1rem ui-monospace, monospace; margin: 0.25rem 0; overflow-wrap: anywhere; }
h2 b { display: inline-block; min-width: 4.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th { text-align: left; font-weight: 600; }
td, th { padding: 0.2rem 0.9rem 0.2rem 0; vertical-align: top; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; font-size: 0.92em; }
"""

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Its own style by its hash, and nothing else."""

_EXAMPLE = 'curl -H "Authorization: Bearer $TOKEN" -F audio=@intervju.mp3 …/transcribe'


def render(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: OpenAPI 3.1, as FastAPI makes it.
    """
    sections = "".join(_sections(document))
    title = escape(document["info"]["title"])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title} {escape(document['info']['version'])}</h1><p>{escape(document['info']['description'])}</p>"
        f"<p><code>{escape(_EXAMPLE)}</code></p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a></p>\n{sections}</body></html>\n'
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            token = "" if operation.get("security") else " · no token"
            rows = "".join(_rows(operation))
            fields = f"<table><tr><th>field<th>in<th>value</tr>{rows}</table>" if rows else ""
            answers = ", ".join(escape(status) for status in operation["responses"])
            yield (
                f"<section><h2><b>{method.upper()}</b> {escape(path)}</h2>"
                f"<p>{escape(operation.get('description', ''))}</p>{fields}<p>Answers {answers}{token}</p></section>\n"
            )


def _rows(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        yield _row(parameter["name"], parameter["in"], _said(parameter["schema"]), parameter.get("description", ""))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        for name, field in schema["properties"].items():
            required = "required" if name in schema.get("required", ()) else ""
            yield _row(name, kind.partition("/")[2], _said(field), required)


def _row(*cells: str) -> str:
    name, where, value, note = map(escape, cells)
    return f"<tr><td><code>{name}</code><td>{where}<td>{value}{' · ' if note else ''}{note}</tr>"


def _said(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_said(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    words = str(schema.get("format") or schema.get("type", "any"))
    if schema.get("type") == "array":
        return f"any of {_said(schema['items'])}"
    if "minimum" in schema and "maximum" in schema:
        words += f" {schema['minimum']} to {schema['maximum']}"
    return words
