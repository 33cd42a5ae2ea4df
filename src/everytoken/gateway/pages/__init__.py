"""The chat page and the console: static files, served by the gateway at `/`, `/console` and `/assets/<name>`."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["CONTENT_SECURITY_POLICY", "load"]

# Nothing from another host, nothing inline, no string ever read as markup. What a model writes ends up on this page.
# Images as `data:` are the reader's own, beside a question: such a URL is the image, and asks nobody for anything.
_DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
CONTENT_SECURITY_POLICY = "; ".join(_DIRECTIVES)

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


def load() -> dict[str, tuple[bytes, str]]:
    """Return the files of the pages: path on the server -> (body, content type)."""
    files = {f"/assets/{path}": found for path, found in _walk(resources.files(__name__), "")}
    files["/"] = files.pop("/assets/index.html")
    files["/console"] = files.pop("/assets/console/index.html")
    return files


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, tuple[bytes, str]]]:
    found = []
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif suffix in _CONTENT_TYPES:
            found.append((prefix + entry.name, (entry.read_bytes(), _CONTENT_TYPES[suffix])))
    return found
