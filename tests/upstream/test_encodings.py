"""Compression that nobody asked for is undone, in pieces, and whatever is damaged is an error."""

from __future__ import annotations

import gzip
import zlib
from types import SimpleNamespace

import pytest

from everytoken.errors import (
    RemoteProtocolError,
)
from everytoken.testing import CleanEnd, Head, Send
from everytoken.upstream import encodings
from upstream_asked import ask, connected_to
from upstream_sink import EVENT, Sink


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_compression_nobody_asked_for_is_undone(encoding, pack):
    body = EVENT * 50_000
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(pack(body)), CleanEnd()])
    assert b"".join(what for what in sink.seen if isinstance(what, bytes)) == body
    assert sink.seen[-1] == "eof"


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


async def test_zstd_is_undone_where_a_library_is_installed():
    body = EVENT * 50_000
    sink = await ask([Head(headers=(("Content-Encoding", "zstd"),)), Send(zstd(body)), CleanEnd()])
    pieces = [what for what in sink.seen if isinstance(what, bytes)]
    assert b"".join(pieces) == body
    assert sink.seen[-1] == "eof"


async def test_a_bomb_of_zstd_is_undone_in_pieces():
    body = b":" * 100_000_000 + b"\n\n"
    async with connected_to(
        [Head(headers=(("Content-Encoding", "zstd"),)), Send(zstd(body)), CleanEnd()]
    ) as (_, upstream):
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
    pieces = [len(what) for what in sink.seen if isinstance(what, bytes)]
    assert sum(pieces) == len(body)
    assert max(pieces) < 8_000_000


@pytest.mark.parametrize("encoding", ["zstd"])
async def test_damaged_zstd_is_an_error(encoding):
    zstd(b"")
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(b"this is no zstd"), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


class Backwards:
    """In place of brotli's decompressor, which is not among our dependencies: as it is called."""

    def __init__(self):
        self._finished = False

    def process(self, data):
        if b"!" in data:
            raise ValueError("damaged")
        self._finished = b"." in data
        return data.swapcase()

    def is_finished(self):
        return self._finished


async def test_brotli_is_undone_where_a_library_is_installed(monkeypatch):
    monkeypatch.setattr(encodings, "_BROTLI", SimpleNamespace(__name__="brotli", Decompressor=Backwards))
    head = Head(headers=(("Content-Encoding", "br"),))
    sink = await ask([head, Send(b"DATA: x\n\n" * 100 + b"."), Send(b"more"), CleanEnd()])
    assert b"".join(what for what in sink.seen if isinstance(what, bytes)) == b"data: X\n\n" * 100 + b"."
    assert sink.seen[-1] == "eof"
    sink = await ask([head, Send(b"!"), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


@pytest.mark.parametrize(("encoding", "body"), [("snappy", EVENT), ("gzip", b"this is no gzip")])
async def test_compression_that_cannot_be_undone_is_an_error(encoding, body):
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(body), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)
