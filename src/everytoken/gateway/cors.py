"""What lets pages of listed origins read answers (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXPOSED", "allow_origin", "is_listed"]

EXPOSED = (
    b"ETag, Location, Retry-After, Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, "
    b"Stream-Expires-At, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, "
    b"Producer-Received-Seq, X-Request-Id, X-Upstream-Request-Id, X-Should-Retry, x-vercel-ai-ui-message-stream"
)


def is_listed(origin: str | None, origins: Sequence[str]) -> bool:
    """Whether pages of an origin may call."""
    if origin is None:
        return False
    return "*" in origins or origin.lower() in {listed.lower().rstrip("/") for listed in origins}


def allow_origin(origin: str | None, origins: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of a listed origin read the answer."""
    headers = [(b"vary", b"Origin")]
    if origin is not None and is_listed(origin, origins):
        headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", EXPOSED),
        ]
    return headers
