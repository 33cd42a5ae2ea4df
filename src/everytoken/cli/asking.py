"""Ask an OpenAI-compatible server and read its answer to the end, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from everytoken.cli.server import Server, reason, refusal
from everytoken.dialects.openai_chat import ChatDecoder, chunks_of
from everytoken.errors import (
    ConnectError,
    ErrorEventError,
    EventTooLargeError,
    EverytokenError,
    NotAnEventStreamError,
    RemoteProtocolError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from everytoken.cli.views import View
    from everytoken.dialects.openai_chat import Delta

__all__ = ["PAUSES", "WAITING", "Answer", "ChatServer", "code_of"]

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to resume, until one delivers something."""

WAITING = "waiting for the first token"
"""What is waited for until there is something of an answer."""

_SILENCE = 300.0  # seconds without content; a server may send none while its model thinks
_SILENCE_RESUMABLE = 45.0  # seconds without a byte: the gateway sends a keep-alive every 15 s
_LINGER = 1.0  # seconds to wait for `[DONE]` after a finish_reason, which already completes the answer
_GRACE = 30  # seconds for which the gateway continues without us: those pauses, and a margin
_RESULT = 2.0  # seconds to ask for the result of a response
_CANCEL = 2.0  # seconds for a cancellation to be accepted
_NO_LIST = {404, 405, 501}  # a server with one model need not list it
_SHORTENED: dict[str | None, str] = {
    "length": "the answer has reached its length limit",
    "content_filter": "the server's content filter has ended the answer",
}
_REST = "waiting for the rest"
_STREAM = re.compile(r".*/v1/stream/[^/]+")


class ChatServer(Server):
    """A server of chat completions; `base_url` is the part of its URLs before `/chat/completions`."""

    async def first_model(self) -> str:
        """Return the model that the server lists first, or "default" if it lists none. Raises `UpstreamError`."""
        try:
            response = await self.get("models")
            return str(msgspec.json.decode(await response.aread())["data"][0]["id"])
        except StatusError as error:
            if error.upstream_status not in _NO_LIST:
                raise
        except httpx2.TransportError as error:
            raise ConnectError(reason(error)) from error
        except (msgspec.DecodeError, LookupError, TypeError):
            pass
        return "default"

    async def models(self) -> list[dict[str, Any]]:
        """Return the models that the server lists, each with an `id` at least. Raises `UpstreamError`."""
        try:
            response = await self.get("models")
            listed = msgspec.json.decode(await response.aread())
            found: Any = listed.get("data") if isinstance(listed, dict) else listed
            return [model for model in found if isinstance(model, dict) and isinstance(model.get("id"), str)]
        except httpx2.TransportError as error:
            raise ConnectError(reason(error)) from error
        except (msgspec.DecodeError, TypeError) as error:
            raise RemoteProtocolError("the server's list of models cannot be read") from error

    async def result(self, stream: str) -> dict[str, Any] | None:
        """Return the result of a response as the gateway tells it, or how far it is; None if it does not say."""
        with suppress(httpx2.HTTPError, msgspec.DecodeError):
            response = await self.http.get(f"{stream}/result", timeout=_RESULT)
            told = msgspec.json.decode(response.content) if response.is_success else None
            if isinstance(told, dict) and isinstance(told.get("attempts"), list):
                return told
        return None

    async def ask(self, body: dict[str, Any], view: View) -> Answer:
        """Ask, and return when the answer has begun. Raises `UpstreamError`."""
        answer = Answer(self.http, view)
        request = self.http.build_request(
            "POST",
            "chat/completions",
            json=body,
            headers={"accept": "text/event-stream", "everytoken-disconnect": str(_GRACE)},
        )
        answer.begin(await self.send(request))
        return answer


class Answer:
    """One answer as it arrives; `text` is what has been received. It is requested only once.

    `notice` says why the answer was cut short, if the server reports it. `waiting` is what is waited for while nothing
    comes. `first` is when the first content came, on the loop's clock; `resumed` how often the connection was made again; `refused` whether the model would not answer.
    """

    def __init__(self, http: httpx2.AsyncClient, view: View, chat: ChatDecoder | None = None) -> None:
        self._http = http
        self._view = view
        self._chat = chat or ChatDecoder()
        self._ended = False  # whether everything has been read, and the answer is complete
        self._pieces: list[str] = []
        self._response: httpx2.Response | None = None
        self._stream: httpx2.URL | None = None
        self._last_event_id = ""
        self._fruitless = 0  # attempts to resume since the last event
        self._thoughts: list[str] = []
        self.notice: str | None = None
        self.refused = False
        self.waiting = WAITING
        self.trouble = ""  # what the gateway does about an answer that does not come
        self.first: float | None = None
        self.resumed = 0
        self.finish_reason: str | None = None

    @property
    def reasoning(self) -> str:
        """What the model has thought so far."""
        return "".join(self._thoughts)

    @property
    def usage(self) -> dict[str, Any] | None:
        """What the server says that the answer has used."""
        return self._chat.usage

    @property
    def model(self) -> str:
        """The server's own name for the model, "" if it says none."""
        return self._chat.model

    @property
    def pieces(self) -> int:
        """How many pieces have been received."""
        return len(self._pieces) + len(self._thoughts)

    @property
    def stream(self) -> str | None:
        """The URL of the response's stream, if the server is a gateway."""
        return None if self._stream is None else str(self._stream)

    @property
    def text(self) -> str:
        """The text received so far."""
        return "".join(self._pieces)

    def begin(self, response: httpx2.Response) -> None:
        """Take the head of the response."""
        self._response = response
        location = response.headers.get("location")
        if location and "stream-next-offset" in response.headers:
            url = response.url.join(location)
            # Our key is sent nowhere else.
            same = (url.scheme, url.host, url.port) == (
                response.url.scheme,
                response.url.host,
                response.url.port,
            )
            if same and _STREAM.fullmatch(url.path):
                self._stream = url

    async def read(self) -> None:
        """Read to the end, showing the text. Raises `EverytokenError` if the answer is not complete.

        If reading stops early, the server is told to stop. Raises `OSError` if the view fails.
        """
        response, self._response = self._response, None
        assert response is not None
        try:
            cause = await self._read_connection(response)
            while not (self._chat.terminal or self._ended):
                if self._stream is None:
                    raise cause or _truncated(self._chat)
                cause = await self._resume(cause)
        except (asyncio.CancelledError, OSError):
            await self._leave()
            raise
        finally:
            await response.aclose()

    async def _read_connection(self, response: httpx2.Response) -> EverytokenError | None:
        """Read one connection to its end; return the error that broke it, if any."""
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if media.endswith("json"):
                self._receive_non_streaming(await response.aread())
            elif media in {"", "text/event-stream", "text/plain"}:
                await self._read_events(response.aiter_bytes())
            else:
                raise NotAnEventStreamError(f"the server sent {media} instead of an event stream")
        except httpx2.TransportError as error:
            return TruncatedError(f"the connection broke: {reason(error)}")
        except TimeoutError:
            return StalledError("the server has stopped sending", phase="gap")
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
        """Resume the answer; return the error that broke the new connection, if any.

        Raises `cause` if that fails, or `TruncatedError` with the gateway's message if it refuses.
        """
        resumed = {"last-event-id": self._last_event_id} if self._last_event_id else {}
        self.waiting = "the connection was lost: reconnecting"
        while self._fruitless < len(PAUSES):
            await asyncio.sleep(PAUSES[self._fruitless])
            self._fruitless += 1
            request = self._http.build_request("GET", f"{self._stream}/events", headers=resumed)
            try:
                response = await self._http.send(request, stream=True)
            except httpx2.TransportError:
                continue
            try:
                if response.status_code == 204:
                    self._nothing_left()
                    return None
                if 400 <= response.status_code < 500:
                    body = b""
                    with suppress(httpx2.TransportError):
                        body = await response.aread()
                    broken = cause or _truncated(self._chat)
                    raise TruncatedError(f"{broken.message}; then {refusal(response, body)}") from cause
                if response.is_success:
                    self.resumed += 1
                    self.waiting = "reconnected: waiting for the rest"
                    return await self._read_connection(response)
            finally:
                await response.aclose()
        raise cause or _truncated(self._chat)

    def _nothing_left(self) -> None:
        """Everything has been read. Raises `TruncatedError` unless the answer is complete."""
        raise _truncated(self._chat)

    async def _leave(self) -> None:
        """Stop the answer. Disconnecting is enough for most servers; the gateway would continue for other readers."""
        if self._stream is None or self._chat.terminal:
            return
        with suppress(httpx2.TransportError, TimeoutError):
            async with asyncio.timeout(_CANCEL):
                await self._http.post(f"{self._stream}/cancel")

    def _receive_non_streaming(self, body: bytes) -> None:
        """Take the body of a response that is not streamed."""
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise NotAnEventStreamError("the server sent neither an event stream nor JSON") from error
        chunks = chunks_of(value) if isinstance(value, dict) and value.get("choices") else [body]
        self._receive([ServerSentEvent(data=chunk.decode("utf-8", "replace")) for chunk in chunks])

    def _receive(self, events: Sequence[ServerSentEvent]) -> bool:
        """Show the content of the events; return whether they have any."""
        content = False
        if events:
            self._fruitless = 0
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
                if choice.finish_reason and not choice.index:
                    self.finish_reason = choice.finish_reason
                if choice.finish_reason in _SHORTENED:
                    self.notice = _SHORTENED[choice.finish_reason]
        if self._view.output.failure is not None:
            raise self._view.output.failure
        return content

    def _receive_delta(self, delta: Delta) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        text = delta.text or delta.refusal
        if self.waiting is not _REST and (reasoning or text):
            self.waiting = _REST
            self.first = self.first or asyncio.get_running_loop().time()
        if reasoning:
            self._thoughts.append(reasoning)
            self._view.reasoning(reasoning)
        if text:
            self.refused = self.refused or not delta.text
            self._pieces.append(text)
            self._view.text(text)


def code_of(error: EverytokenError) -> str:
    """Return the code of an error: the server's, or ours."""
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
