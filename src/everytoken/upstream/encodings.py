"""What undoes the compression of a response, a bounded piece at a time."""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Final, Protocol

__all__ = ["DAMAGED", "EncodingError", "Inflate", "inflate_for"]

_STEP = 64  # bytes given at a time to a library that does not bound what comes out: that many become a few MB at most


class EncodingError(Exception):
    """The compressed data is damaged."""


DAMAGED: Final = (EncodingError, zlib.error)
"""What an `Inflate` raises for damaged data."""


class Inflate(Protocol):
    """Undoes one response's compression."""

    @property
    def unconsumed_tail(self) -> bytes:
        """The rest of what was given to it."""

    @property
    def eof(self) -> bool:
        """Whether the compressed data has ended."""

    def decompress(self, data: bytes, limit: int, /) -> bytes:
        """Return about `limit` bytes at most. Raises one of `DAMAGED`."""


class _Steps:
    """Another library's decompressor, which takes some bytes and returns all that they become."""

    def __init__(self, inflate: Any) -> None:
        self._inflate = inflate
        self._take = getattr(inflate, "process", None) or inflate.decompress
        self._rest = b""

    @property
    def unconsumed_tail(self) -> bytes:
        return self._rest

    @property
    def eof(self) -> bool:
        """Whether the data has ended; brotli has a method for it."""
        ended = getattr(self._inflate, "eof", None)
        return bool(self._inflate.is_finished() if ended is None else ended)

    def decompress(self, data: bytes, limit: int) -> bytes:
        out: list[bytes] = []
        size = 0
        place = 0
        try:
            while place < len(data) and size < limit and not self.eof:
                piece = self._take(data[place : place + _STEP])
                place += _STEP
                out.append(piece)
                size += len(piece)
        except Exception as error:  # each library has its own
            raise EncodingError(str(error)) from error
        self._rest = b"" if self.eof else data[place:]
        return b"".join(out)


def _module(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


# Not when the first response needs one: an import reads files, which would stop all others.
_ZSTD = _module("compression.zstd", "backports.zstd", "zstandard")
_BROTLI = _module("brotli", "brotlicffi")


def inflate_for(encoding: str) -> Inflate | None:
    """Return what undoes `encoding`, None where nothing is installed for it."""
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    if encoding == "zstd" and _ZSTD is not None:
        old = _ZSTD.__name__ == "zstandard"
        return _Steps(_ZSTD.ZstdDecompressor().decompressobj() if old else _ZSTD.ZstdDecompressor())
    if encoding == "br" and _BROTLI is not None:
        return _Steps(_BROTLI.Decompressor())
    return None
