"""A request that is passed on as it is: any method, path and body, which may follow in pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode

from everytoken.upstream.exchange import Exchange
from everytoken.upstream.protocol import HttpProtocol
from everytoken.upstream.redirects import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everytoken.redaction import Redactor
    from everytoken.upstream import Sink
    from everytoken.upstream.redirects import Origin

__all__ = ["Passed", "RawExchange", "Upload", "asked_of"]

_PATH: Final = "/:@!$&'()*+,;=~"  # what a path may hold besides (RFC 3986 section 3.3)
_VALUE: Final = re.compile(r"[\x20-\x7e]{1,1000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What is passed on: `path` is the part behind the base URL, decoded; `query` is as it came.

    `body` is all of it, or None where there is none. With `pieces` it follows in pieces, `length` bytes of them, or
    None if nobody knows yet.
    """

    method: str
    path: str
    query: str = ""
    media: str = "application/json"
    accept: str = "*/*"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: bool = False
    length: int | None = None


def asked_of(passed: Passed, origin: Origin, base: str, own: str, more: bytes) -> Asked:
    """Return the request to a server at `base`; `own` is the query of its URL, which a caller's does not replace."""
    taken = {name for name, _ in parse_qsl(own, keep_blank_values=True)}
    theirs = [pair for pair in parse_qsl(passed.query, keep_blank_values=True) if pair[0] not in taken]
    query = "&".join(part for part in (own, urlencode(theirs)) if part)
    framing = b""
    if passed.pieces:
        framing = (
            b"transfer-encoding: chunked\r\n"
            if passed.length is None
            else b"content-length: %d\r\n" % passed.length
        )
    return Asked(
        passed.method,
        origin,
        f"{base}{quote(passed.path, safe=_PATH)}{'?' if query else ''}{query}",
        passed.accept if _VALUE.fullmatch(passed.accept) else "*/*",
        b"" if passed.pieces else passed.body,
        more,
        passed.media.encode() if _VALUE.fullmatch(passed.media) else b"application/octet-stream",
        framing,
    )


class RawExchange(Exchange):
    """An exchange that reports the body of a success as it comes, whatever it is.

    `uploads`: the body of the request follows in pieces, so that it can be sent only once.
    """

    __slots__ = ("uploads",)

    raw = True

    def __init__(
        self,
        sink: Sink,
        *,
        redactor: Redactor,
        later: Callable[[Callable[[], None]], object] | None = None,
        uploads: bool = False,
    ) -> None:
        super().__init__(sink, redactor=redactor, later=later)
        self.uploads = uploads


class Upload:
    """The body of a request in pieces, no faster than the upstream takes them. It ends early if the answer does."""

    def __init__(self, exchange: Exchange, *, chunked: bool) -> None:
        self._exchange = exchange
        self._chunked = chunked

    async def send(self, data: bytes) -> bool:
        """Send a piece; return False if the upstream takes no more."""
        protocol = self._exchange.protocol
        if not isinstance(protocol, HttpProtocol):
            return False
        if data:
            protocol.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            await protocol.drain()
        return self._exchange.protocol is protocol

    def end(self) -> None:
        """Say that there is no more."""
        protocol = self._exchange.protocol
        if self._chunked and isinstance(protocol, HttpProtocol):
            protocol.write(b"0\r\n\r\n")
