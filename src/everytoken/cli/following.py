"""Read an existing stream from any offset to its end: a response as text, any other stream as messages."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import sys
from typing import TYPE_CHECKING

import httpx2
import msgspec

from everytoken.cli.asking import PAUSES, Answer
from everytoken.cli.ending import Outcome
from everytoken.cli.server import Server, reason
from everytoken.cli.text import visible
from everytoken.cli.views import view_of
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import (
    EverytokenError,
    MalformedEventError,
    RemoteProtocolError,
    StatusError,
    TruncatedError,
)
from everytoken.formats.durable import is_json

if TYPE_CHECKING:
    from everytoken.cli.output import Output
    from everytoken.cli.views import View

__all__ = ["follow", "reopened"]

_RESPONSE = re.compile(r"(.*/v1/stream/[^/]+)(/events)?/?")
_EMPTY = 0.25  # seconds before the next request after an empty response: the server may not have waited
_NOTHING = "the stream has ended; there is nothing after this offset"
_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode


async def follow(server: Server, url: str, offset: str, output: Output) -> Outcome:
    """Show the stream at `url` from `offset` on (`-1` is the start, `now` the end) until it has ended.

    Disconnecting does not stop it. Raises `OSError` if it cannot be shown.
    """
    reading: FollowedAnswer | Messages | None = None
    try:
        response = await _response(server, httpx2.URL(url), offset)
        if response is None:
            reading = await Messages.begin(server, httpx2.URL(url), offset, output)
            await reading.read()
        elif response.status_code == 204:
            return Outcome(None, begun=False, notice=_NOTHING)
        else:
            view = view_of(output)
            reading = followed = FollowedAnswer(server, view, response)
            view.begin()
            view.explain(lambda: followed.waiting)
            try:
                await reading.read()
            finally:
                view.end()
    except EverytokenError as error:
        return Outcome(error, begun=reading is not None, notice=None)
    return Outcome(None, begun=True, notice=reading.notice)


async def reopened(server: Server, url: str, view: View) -> Answer:
    """Return an answer of our own, from its beginning, that another process has begun to read. Raises `UpstreamError`."""
    response = await server.get(httpx2.URL(f"{url}/events"), {"offset": "-1"})
    if response.status_code == 204:
        await response.aclose()
        raise TruncatedError(_NOTHING)
    return OwnAnswer(server, view, response)


async def _response(server: Server, url: httpx2.URL, offset: str) -> httpx2.Response | None:
    """Return a response of the gateway as events; None if `url` has none, but may have another kind of stream."""
    found = _RESPONSE.fullmatch(url.path)
    if found is None:
        return None
    try:
        return await server.get(url.copy_with(path=f"{found[1]}/events"), {"offset": offset})
    except StatusError as error:
        if error.upstream_status != 404 or found[2]:
            raise
        return None


class FollowedAnswer(Answer):
    """A response to an earlier request: disconnecting does not stop it, and only the gateway's `[DONE]` ends it.

    The number of choices is not known here, nor whether their ends are before the offset.
    """

    def __init__(self, server: Server, view: View, response: httpx2.Response) -> None:
        super().__init__(server.http, view, ChatDecoder(choices=sys.maxsize, omits_finish_reason=True))
        self._response = response
        self._stream = response.url.copy_with(path=response.url.path.removesuffix("/events"), query=None)
        self._last_event_id = response.headers.get("stream-next-offset", "")

    def _nothing_left(self) -> None:
        """Note the end. Had the response been interrupted, the last record would have said so."""
        self._ended = True

    async def _leave(self) -> None:
        """Do not cancel: others may be reading."""


class OwnAnswer(FollowedAnswer):
    """A response that we have asked for: it is stopped when we stop."""

    async def _leave(self) -> None:
        await Answer._leave(self)  # noqa: SLF001  # as if it had never been another process's


class Messages:
    """A stream of the Durable Streams protocol, of any content type: JSON messages line by line, or its bytes.

    It is read by long-polling (protocol section 5.7), whose responses have a length and hold the bytes unchanged.
    """

    def __init__(self, server: Server, url: httpx2.URL, output: Output) -> None:
        self.notice: str | None = None
        self._server = server
        self._url = url
        self._output = output
        self._terminal = os.isatty(output.descriptor)
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._params: dict[str, str] = {}
        self._head = httpx2.Headers()
        self._body = b""

    @classmethod
    async def begin(cls, server: Server, url: httpx2.URL, offset: str, output: Output) -> Messages:
        """Read what is already stored. Raises `EverytokenError`."""
        messages = cls(server, url, output)
        messages._params["offset"] = offset
        await messages._fetch()
        return messages

    async def read(self) -> None:
        """Show everything until the stream is closed. Raises `EverytokenError`, `OSError`."""
        while True:
            self._show()
            if self._head.get("stream-closed") == "true":
                return
            if not self._body:
                await asyncio.sleep(_EMPTY)
            await self._fetch_again()

    async def _fetch_again(self) -> None:
        for pause in PAUSES:
            try:
                await self._fetch()
            except EverytokenError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(pause)
            else:
                return
        await self._fetch()

    async def _fetch(self) -> None:
        """Read one response completely, and note the offset of the next one."""
        response = await self._server.get(self._url, self._params)
        try:
            body = await response.aread()
        except httpx2.TransportError as error:
            raise TruncatedError(f"the connection broke: {reason(error)}") from error
        finally:
            await response.aclose()
        offset = response.headers.get("stream-next-offset")
        if offset is None:
            raise RemoteProtocolError("the response has no Stream-Next-Offset: this is not a stream")
        self._head, self._body = response.headers, body
        self._params = {"offset": offset, "live": "long-poll"}
        if "stream-cursor" in response.headers:
            self._params["cursor"] = response.headers["stream-cursor"]

    def _show(self) -> None:
        data = self._body
        if data and is_json(self._head.get("content-type", "")):
            data = b"".join(_line(message) for message in _split(data))
        if self._terminal:
            data = visible(self._characters.decode(data)).encode("utf-8", "replace")
        self._output.write(data)
        if self._output.failure is not None:
            raise self._output.failure


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        return _messages(body)
    except msgspec.DecodeError as error:
        raise MalformedEventError("the response is not an array of JSON messages") from error


def _line(message: msgspec.Raw) -> bytes:
    """Return a message as one line, unchanged if it is one already."""
    written = bytes(message)
    return (msgspec.json.format(written, indent=-1) if b"\n" in written else written) + b"\n"
