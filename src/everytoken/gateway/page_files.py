"""Sending a file of the pages: compressed where the browser takes that, and not at all where it has it already."""

from __future__ import annotations

import asyncio
import gzip
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from everytoken.gateway.http import answer, start

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.pages import PageFile

__all__ = ["answer_file"]

_SMALL = 1000  # bytes: less comes in one packet anyway
_PACKED = ("font/", "image/png")  # compressed by themselves


async def answer_file(request: Request, file: PageFile) -> None:
    """Answer with a file. A browser keeps it, but asks each time whether it is still the same (RFC 9110, 13.1.2)."""
    body, media = file.body, file.media
    tag = _tag(body)
    head = [
        (b"cache-control", b"no-cache"),
        (b"referrer-policy", b"no-referrer"),
        (b"etag", tag),
        (b"vary", b"accept-encoding"),
    ]
    if file.policy:
        head.append((b"content-security-policy", file.policy.encode()))
    known = (request.header(b"if-none-match") or "").encode("latin-1", "replace")
    if known.strip() == b"*" or tag in (one.strip() for one in known.split(b",")):
        await start(request, 304, head)
        await request.emit({"type": "http.response.body", "body": b""})
        return
    if _takes_gzip(request) and (file.compressed or (len(body) >= _SMALL and not media.startswith(_PACKED))):
        body = body if file.compressed else await asyncio.to_thread(_packed, body)
        head.append((b"content-encoding", b"gzip"))
    elif file.compressed:
        body = await asyncio.to_thread(gzip.decompress, body)
    await answer(request, 200, body, media.encode(), head)


def _takes_gzip(request: Request) -> bool:
    for coding in (request.header(b"accept-encoding") or "").lower().split(","):
        name, _, quality = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


@lru_cache(maxsize=1024)
def _tag(body: bytes) -> bytes:
    # Weak: the compressed file is another sequence of bytes for the same content.
    return b'W/"%s"' % sha256(body).hexdigest()[:20].encode()


@lru_cache(maxsize=1024)
def _packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)
