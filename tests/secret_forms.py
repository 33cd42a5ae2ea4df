"""The forms in which an upstream can write a secret."""

from __future__ import annotations

import base64
import contextlib
import html
import json
from urllib.parse import quote


def every_escape(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


FORMS = {
    "as it is": json.dumps,
    "slashes escaped": lambda key: json.dumps(key).replace("/", "\\/"),
    "equals signs escaped": lambda key: json.dumps(key).replace("=", "\\u003d"),
    "all escaped": lambda key: f'"{every_escape(key)}"',
    "all escaped in capitals": lambda key: '"' + "".join(f"\\u{ord(c):04X}" for c in key) + '"',
    "JSON in a string": lambda key: json.dumps(json.dumps({"key": key})),
    "JSON in a string in a string": lambda key: json.dumps(json.dumps(json.dumps({"key": key}))),
    "all escaped twice": lambda key: json.dumps(f'{{"key": "{every_escape(key)}"}}'),
    "in a URL": lambda key: json.dumps("https://x.example/?api-key=" + quote(key, safe="")),
    "in HTML": lambda key: json.dumps(html.escape(f"Bearer {key}")),
    "in base64": lambda key: json.dumps("Basic " + base64.b64encode(f"user:{key}".encode()).decode()),
    "behind Bearer": lambda key: json.dumps(f"Authorization: Bearer {key}."),
}


def holds(text: str, key: str) -> bool:
    """Whether somebody who decodes `text` in any of these ways finds the key."""
    seen = [text]
    for _ in range(3):
        more = []
        for one in seen:
            more += [one, html.unescape(one)]
            with contextlib.suppress(UnicodeDecodeError):
                more.append(one.encode().decode("unicode_escape"))
            more.append(one.replace("\\/", "/").replace('\\"', '"'))
        seen = list(dict.fromkeys(more))
    return any(key in one or quote(key, safe="") in one for one in seen)
