"""The chat page and the console: static files, served by the gateway at `/`, `/console` and `/assets/<name>`."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["CONTENT_SECURITY_POLICY", "PageFile", "load"]

# Nothing from another host, nothing inline, no string ever read as markup. What a model writes ends up on this page.
# Images as `data:` are the reader's own, beside a question: such a URL is the image, and asks nobody for anything.
_DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "frame-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
CONTENT_SECURITY_POLICY = "; ".join(_DIRECTIVES)

# Where a diagram is drawn: by a library that builds markup from strings and writes styles. So it has a document of
# its own, which is of no origin: it reads nothing of the page, stores nothing, asks no host and leads nowhere.
_DRAWING_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-scripts"
)
_DRAWING = "/assets/diagram/index.html"

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class PageFile(NamedTuple):
    """A file of the pages.

    Attributes:
        body: Its content; of one that is stored compressed, in that form (gzip).
        media: Its content type.
        policy: Its `Content-Security-Policy`; only a document has one.
        compressed: Whether it is stored compressed.
    """

    body: bytes
    media: str
    policy: str = ""
    compressed: bool = False


def load() -> dict[str, PageFile]:
    """Return the files of the pages by their paths on the server. One whose name ends with `.gz` is found without it."""
    files = {f"/assets/{path}": found for path, found in _walk(resources.files(__name__), "")}
    files[_DRAWING] = files[_DRAWING]._replace(policy=_DRAWING_POLICY)
    files["/"] = files.pop("/assets/index.html")
    files["/console"] = files.pop("/assets/console/index.html")
    return files


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found = []
    for entry in folder.iterdir():
        name = entry.name.removesuffix(".gz")
        suffix = name[name.rfind(".") :]
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{name}/")
        elif suffix in _CONTENT_TYPES:
            policy = CONTENT_SECURITY_POLICY if suffix == ".html" else ""
            file = PageFile(entry.read_bytes(), _CONTENT_TYPES[suffix], policy, compressed=name != entry.name)
            found.append((prefix + name, file))
    return found
