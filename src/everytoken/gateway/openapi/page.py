"""The description as a page: plain HTML, with nothing from another host and no script."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final

__all__ = ["page"]

_METHODS: Final = ("get", "put", "post", "delete", "head", "options", "patch")
_CODE: Final = re.compile(r"`([^`]+)`")
_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>everytoken: the HTTP API</title>
<link rel="icon" href="assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="assets/docs.css">
</head>
<body>
<header><h1>The HTTP API</h1>"""


def page(described: dict[str, Any]) -> bytes:
    """Return the page of a description."""
    info, parts = described["info"], [_HEAD]
    parts.append(f"<p>{escape(info['description'])}</p>")
    parts.append(
        f'<p>Version {escape(info["version"])}, as <a href="openapi.json">OpenAPI {described["openapi"]}</a>.</p>'
    )
    tags: dict[str, list[str]] = {}
    for path, item in described["paths"].items():
        for method in _METHODS:
            if method in item and (method != "head" or "get" not in item):
                tags.setdefault(item[method]["tags"][0], []).append(_operation(path, method, item))
    parts.append(
        "<nav>"
        + " ".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in tags)
        + ' <a href="#shapes">Shapes</a></nav></header><main>'
    )
    for tag, shown in tags.items():
        parts.append(f'<section id="{_anchor(tag)}"><h2>{escape(tag)}</h2>{"".join(shown)}</section>')
    parts.append('<section id="shapes"><h2>Shapes</h2>')
    for name, shape in described["components"]["schemas"].items():
        text = escape(json.dumps(shape, indent=2, ensure_ascii=False))
        parts.append(
            f'<details id="shape-{escape(name)}"><summary>{escape(name)}</summary><pre>{text}</pre></details>'
        )
    parts.append("</section></main></body></html>")
    return "\n".join(parts).encode()


def _operation(path: str, method: str, item: dict[str, Any]) -> str:
    told = item[method]
    also = " <small>also HEAD</small>" if method == "get" and "head" in item else ""
    rows = [*item.get("parameters", ()), *told.get("parameters", ())]
    body = told.get("requestBody", {}).get("content", {})
    begins = (
        f'<details id="{escape(told["operationId"])}"><summary><b class="{method}">{method.upper()}</b> '
        f"<code>{escape(path)}</code> <span>{_words(told['summary'])}{also}</span></summary>"
    )
    parts = [begins]
    access = [next(iter(one), "") for one in told["security"]]
    parts.append(
        f"<p>{'Needs an admin key.' if 'admin' in access else 'Needs an API key, if the gateway does.' if access else 'Needs no key.'}</p>"
    )
    if rows:
        lines = "".join(
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td><td>{_words(one.get('description', ''))}</td></tr>"
            for one in rows
        )
        parts.append(f"<h3>Parameters</h3><table>{lines}</table>")
    if body:
        parts.append(f"<h3>Body</h3><p>{_kinds(body)}</p>")
    lines = "".join(
        f"<tr><td>{status}</td><td>{_words(one['description'])}</td><td>{_kinds(one.get('content', {}))}</td></tr>"
        for status, one in sorted(told["responses"].items())
    )
    parts.append(f"<h3>Answers</h3><table>{lines}</table></details>")
    return "".join(parts)


def _kinds(content: dict[str, Any]) -> str:
    shown = []
    for media, of in content.items():
        name = of["schema"].get("$ref", "").rpartition("/")[2]
        link = f' <a href="#shape-{escape(name)}">{escape(name)}</a>' if name else ""
        shown.append(f"<code>{escape(media)}</code>{link}")
    return " or ".join(shown)


def _words(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _anchor(tag: str) -> str:
    return tag.lower().replace(" ", "-")
