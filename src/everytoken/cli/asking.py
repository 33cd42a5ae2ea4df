"""Ask an OpenAI-compatible server and read its answer to the true end, over as many connections as that takes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from everytoken.chat import ChatDecoder, chunks_of
from everytoken.chat.inband import in_band_error
from everytoken.errors import (
    ConfigurationError,
    ConnectError,
    ErrorEventError,
    EventTooLargeError,
    EverytokenError,
    NotAnEventStreamError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from everytoken.chat import Delta
    from everytoken.cli.views import View

__all__ = ["Answer", "ChatServer", "code_of"]

_CONNECT = 10.0  # seconds
_HEAD = 300.0  # seconds until an answer begins: a long prompt on a small machine takes its time
_SILENCE = 300.0  # seconds without content; servers need not send any while they think
_SILENCE_RESUMABLE = 45.0  # seconds without a byte: the gateway sends a keep-alive every 15 s
_LINGER = 1.0  # seconds for `[DONE]` behind a finish_reason, with which the answer is complete already
_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each attempt to resume
_GRACE = 30  # seconds for which the gateway goes on without us: those pauses, and some more
_CANCEL = 2.0  # seconds for a cancellation to be accepted
_NO_LIST = {404, 405, 501}  # a server with one model need not list it
_SHORTENED: dict[str | None, str] = {
    "length": "the answer has reached its length limit",
    "content_filter": "the server's content filter has ended the answer",
}
_STREAM = re.compile(r".*/v1/stream/[^/]+")


class ChatServer:
    """A server at `base_url` (the part before `/chat/completions`), asked with `api_key` if there is one.

    Raises `ConfigurationError` for a key that cannot be sent.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        headers = {"user-agent": "everytoken", "accept-encoding": "identity"}  # compression delays tokens
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ConfigurationError("the API key has characters that cannot be sent")
            headers["authorization"] = f"Bearer {api_key}"
        # A proxy is for what is elsewhere.
        direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        self._http = httpx2.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(_HEAD, connect=_CONNECT),
            mounts=direct,
            # Reading the system's certificates takes a while; without any, nothing would be trusted.
            verify=base_url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def first_model(self) -> str:
        """Return the model that the server lists first, or "default" if it lists none. Raises `UpstreamError`."""
        try:
            response = await self._http.get("models")
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ConnectError(_reason(error)) from error
        if response.status_code not in _NO_LIST:
            await self._check(response)
        try:
            return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            return "default"

    async def ask(self, body: dict[str, Any], view: View) -> Answer:
        """Ask, and return when the answer has begun; `async with` it. Raises `UpstreamError`."""
        answer = Answer(self._http, view)
        request = self._http.build_request(
            "POST",
            "chat/completions",
            json=body,
            headers={"accept": "text/event-stream", "everytoken-disconnect": str(_GRACE)},
        )
        try:
            response = await self._http.send(request, stream=True)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ConnectError(_reason(error)) from error
        await self._check(response)
        answer.begin(response)
        return answer

    async def _check(self, response: httpx2.Response) -> None:
        """Raise `StatusError` with the server's own message if it refuses."""
        if response.is_success:
            return
        body = await response.aread()
        raise StatusError(_refusal(response, body), upstream_status=response.status_code, body=body)


class Answer:
    """One answer while it comes; what has come is in `text`. It is asked for once, and never again.

    `notice` says why the answer is shorter than it could be, if the server told.
    """

    def __init__(self, http: httpx2.AsyncClient, view: View) -> None:
        self._http = http
        self._view = view
        self._chat = ChatDecoder()
        self._pieces: list[str] = []
        self._response: httpx2.Response | None = None
        self._stream: httpx2.URL | None = None
        self._last_event_id = ""
        self.notice: str | None = None

    @property
    def text(self) -> str:
        """What has come of the text."""
        return "".join(self._pieces)

    def begin(self, response: httpx2.Response) -> None:
        """Take the head of the response."""
        self._response = response
        location = response.headers.get("location")
        if location and "stream-next-offset" in response.headers:
            url = response.url.join(location)
            # Our key goes to nobody else.
            same = (url.scheme, url.host, url.port) == (
                response.url.scheme,
                response.url.host,
                response.url.port,
            )
            if same and _STREAM.fullmatch(url.path):
                self._stream = url

    async def read(self) -> None:
        """Read to the end, showing what comes. Raises `EverytokenError` when that is not a true one.

        However it is left before the end, the server is told to stop. Raises `OSError` when the view fails.
        """
        response, self._response = self._response, None
        assert response is not None
        try:
            cause = await self._read_connection(response)
            while not self._chat.terminal:
                if self._stream is None:
                    raise cause or _truncated(self._chat)
                cause = await self._resume(cause)
        except (asyncio.CancelledError, OSError):
            await self._cancel()
            raise
        finally:
            await response.aclose()

    async def _read_connection(self, response: httpx2.Response) -> EverytokenError | None:
        """Read one connection to its end; return what broke it, if something did."""
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if media.endswith("json"):
                self._receive_whole(await response.aread())
            elif media in {"", "text/event-stream", "text/plain"}:
                await self._read_events(response.aiter_bytes())
            else:
                raise NotAnEventStreamError(f"the server answered with {media}, not with an event stream")
        except httpx2.TransportError as error:
            return TruncatedError(f"the connection broke: {_reason(error)}")
        except TimeoutError:
            return StalledError("the server has fallen silent", phase="gap")
        finally:
            await response.aclose()
        return None

    async def _read_events(self, reads: AsyncIterator[bytes]) -> None:
        decoder = SSEDecoder()
        clock = asyncio.get_running_loop().time
        silence = _SILENCE if self._stream is None else _SILENCE_RESUMABLE
        async with asyncio.timeout(silence) as limit:
            async for data in reads:
                try:
                    content = self._receive(decoder.receive_data(data))
                except EventTooLargeError as error:
                    self._receive(error.events)
                    raise
                if self._chat.done:
                    return
                if self._chat.terminal:
                    limit.reschedule(clock() + _LINGER)
                elif content or self._stream is not None:  # the gateway itself watches the model
                    limit.reschedule(clock() + silence)

    async def _resume(self, cause: EverytokenError | None) -> EverytokenError | None:
        """Go on where the answer was left; return what broke that connection. Raises `cause` if it cannot be done."""
        resumed = {"last-event-id": self._last_event_id} if self._last_event_id else {}
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            request = self._http.build_request("GET", f"{self._stream}/events", headers=resumed)
            try:
                response = await self._http.send(request, stream=True)
            except httpx2.TransportError:
                continue
            try:
                if response.status_code == 204:  # all has been read, and no more will come
                    raise _truncated(self._chat)
                if 400 <= response.status_code < 500:
                    raise cause or _truncated(self._chat)
                if response.is_success:
                    return await self._read_connection(response)
            finally:
                await response.aclose()
        raise cause or _truncated(self._chat)

    async def _cancel(self) -> None:
        """Stop the answer. Leaving is enough for most servers; the gateway would go on for other readers."""
        if self._stream is None or self._chat.terminal:
            return
        with suppress(httpx2.TransportError, TimeoutError):
            async with asyncio.timeout(_CANCEL):
                await self._http.post(f"{self._stream}/cancel")

    def _receive_whole(self, body: bytes) -> None:
        """Take the answer of a server that does not stream."""
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise NotAnEventStreamError(
                "the server answered with neither an event stream nor JSON"
            ) from error
        chunks = chunks_of(value) if isinstance(value, dict) and value.get("choices") else [body]
        self._receive([ServerSentEvent(data=chunk.decode("utf-8", "replace")) for chunk in chunks])

    def _receive(self, events: Sequence[ServerSentEvent]) -> bool:
        """Show what the events bring of the answer; return whether they bring any."""
        content = False
        for event in events:
            chunk = self._chat.receive_event(event)
            if event.id:
                self._last_event_id = event.id
            if chunk is None:
                continue
            content = content or chunk.has_content
            for choice in chunk.choices or ():
                if choice.delta is not None and not choice.index:
                    self._receive_delta(choice.delta)
                if choice.finish_reason in _SHORTENED:
                    self.notice = _SHORTENED[choice.finish_reason]
        if self._view.output.failure is not None:
            raise self._view.output.failure
        return content

    def _receive_delta(self, delta: Delta) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._view.reasoning(reasoning)
        text = delta.text or delta.refusal
        if text:
            self._pieces.append(text)
            self._view.text(text)


def code_of(error: EverytokenError) -> str:
    """Return the code of an error: that which the server named, or ours."""
    named = (
        error.error.get("code")
        if isinstance(error, ErrorEventError) and isinstance(error.error, dict)
        else None
    )
    return named if isinstance(named, str) and named else error.code


def _truncated(chat: ChatDecoder) -> TruncatedError:
    try:
        chat.receive_eof()
    except TruncatedError as error:
        return error
    raise AssertionError("the answer is complete")


def _refusal(response: httpx2.Response, body: bytes) -> str:
    """Say in one sentence what a response says that is not a success."""
    try:
        told = in_band_error("", msgspec.json.decode(body))
    except msgspec.DecodeError:
        told = None
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if told is not None:
        return f"the server answered {status}: {told.message}"
    location = response.headers.get("location")
    return f"the server answered {status}" + (f", see {location}" if location else "")


def _reason(error: Exception) -> str:
    """Return what the operating system says, where it is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, OSError) and cause.errno:
            # asyncio puts words of its own in `strerror`; the resolver's numbers are not the system's.
            return str(cause.strerror) if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
