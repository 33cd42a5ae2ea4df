"""Read the events of one attempt's stream, and know a true end from a cut.

Sources: the OpenAI API reference ("Responses: streaming events"), the types of the official SDKs, and what servers send:
llama.cpp leaves out the numbers of events, items and parts, which readers need, so they are added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.openai_chat.decoder import DONE, SMALL, check_large
from everytoken.dialects.openai_chat.heartbeats import is_heartbeat, is_heartbeat_object
from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.dialects.openai_chat.statuses import status_of
from everytoken.dialects.openai_responses.history import (
    LIFECYCLE,
    TERMINAL,
    TEXT_DELTA,
    ResponsesHistory,
    object_in,
)
from everytoken.dialects.pieces import Chunk
from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError
from everytoken.json import dumps

if TYPE_CHECKING:
    from everytoken.dialects.openai_responses.request import ResponsesRequest
    from everytoken.sse import ServerSentEvent

__all__ = ["Own", "ResponsesReader", "failure_in"]

_FAILED: Final = frozenset({"response.failed", "response.cancelled"})
_BAD_ENDS: Final = frozenset({"failed", "cancelled"})
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_MAX_MESSAGE: Final = 65_536


class _Delta(msgspec.Struct, gc=False):
    """What nearly every event is: a piece of the text."""

    type: str
    sequence_number: int = -1
    output_index: int = -1
    content_index: int = -1
    delta: str = ""


_decode_delta = msgspec.json.Decoder(_Delta).decode


class Own:
    """An event of a later attempt: its data, and where that attempt is."""

    __slots__ = ("kind", "places", "value")

    def __init__(self, kind: str, value: dict[str, Any], places: ResponsesHistory) -> None:
        self.kind = kind
        self.value = value
        self.places = places


class ResponsesReader:
    """Reads one attempt; see `everytoken.dialects.dialect.Decoder`.

    It is over with `response.completed` or `response.incomplete`; `response.failed` and `error` are errors, and everything
    else that ends is a cut.
    """

    __slots__ = (
        "_first",
        "_places",
        "_request",
        "done",
        "holds_half",
        "model",
        "shown_usage",
        "terminal",
        "usage",
    )

    def __init__(self, request: ResponsesRequest, history: ResponsesHistory, *, first: bool) -> None:
        self._request = request
        self._first = first
        self._places = history if first else ResponsesHistory()
        self.terminal = self.done = self.holds_half = False
        self.shown_usage = True  # it is in the last event
        self.usage: dict[str, Any] | None = None
        self.model = ""

    def read(self, event: ServerSentEvent) -> str | Chunk | None:
        """Return what an event brings. Raises `ErrorEventError`, `MalformedEventError`, `TruncatedError`."""
        data = event.data
        if len(data) > SMALL:
            check_large(data)
        if self._first:
            try:
                delta = _decode_delta(data)
            except (msgspec.DecodeError, RecursionError):
                pass
            else:
                places = self._places
                # Nearly every event leaves here: a piece of the main text, numbered as it has to be.
                if (
                    delta.type == TEXT_DELTA
                    and delta.output_index == places.main_item
                    and delta.content_index == places.main_part
                    and delta.sequence_number == places.number
                    and delta.delta
                ):
                    places.number += 1
                    return delta.delta
        return None if self.done else self._read(event)

    def receive_eof(self) -> None:
        """Record that the bytes have ended. Raises `TruncatedError` when the response had not."""
        if not self.terminal:
            raise TruncatedError("the stream ended without 'response.completed'")

    def _read(self, event: ServerSentEvent) -> Chunk | None:
        value = self._object(event)
        if value is None:
            return None
        changed = False
        kind = value.get("type")
        if not isinstance(kind, str) and event.event.startswith("response."):
            kind = value["type"] = event.event
            changed = True
        if not isinstance(kind, str) or not kind.startswith("response."):
            if is_heartbeat_object(value):
                return None
            error = in_band_error(event.event, value)
            if error is not None:
                raise error
            if not isinstance(kind, str):
                raise MalformedEventError("an event of the stream has no type")
        if kind in _FAILED:
            raise failure_in(value.get("response"))
        places = self._places
        seen = places.take(kind, value)
        changed = changed or seen.changed
        if kind in LIFECYCLE:
            changed = self._take_response(kind, value["response"]) or changed
        if value.get("sequence_number") != places.number:
            value["sequence_number"] = places.number
            changed = True
        places.number += 1
        return Chunk(
            dumps(value).decode("utf-8") if changed else event.data,
            seen.pieces,
            ends=self.terminal,
            frame=seen.frame,
            own=Own(kind, value, places),
        )

    def _object(self, event: ServerSentEvent) -> dict[str, Any] | None:
        """Return an event's data; None for what says nothing."""
        if event.data.strip() == DONE:
            self.done = True  # it is no end here: some servers send it behind the end
            return None
        try:
            return object_in(event.data)
        except MalformedEventError:
            if is_heartbeat(event.event, event.data):
                return None
            error = in_band_error(event.event, event.data)
            if error is not None:
                raise error from None
            raise

    def _take_response(self, kind: str, response: dict[str, Any]) -> bool:
        """Take the response as an upstream describes it; return whether it had to be changed for readers."""
        if kind in TERMINAL:
            if str(response.get("status")) in _BAD_ENDS:
                raise failure_in(response)
            if kind == "response.completed":
                self._check_calls(response)
            self.terminal = self.done = True
            usage = response.get("usage")
            self.usage = usage if isinstance(usage, dict) else None
            self.model = str(response.get("model") or "")
        shown = self._request.shown
        if kind not in TERMINAL:
            # Left out by llama.cpp, and looked into by clients.
            shown |= {name: value for name, value in self._defaults() if name not in response}
        changed = any(name not in response or response[name] != value for name, value in shown.items())
        response.update(shown)
        return changed

    def _defaults(self) -> list[tuple[str, Any]]:
        return [("output", []), ("model", self._request.model)]

    def _check_calls(self, response: dict[str, Any]) -> None:
        """Refuse an end that leaves a call half done: it must never be run."""
        output = response.get("output")
        told = (
            [item.get("id") for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        )
        for item in self._places.items.values():
            if item.kind in _CALLS and not item.done and item.id not in told:
                raise TruncatedError("the response ended inside a tool call")


def failure_in(response: Any) -> ErrorEventError:
    """Return the error of a response that an upstream says has failed, or was cancelled."""
    error = response.get("error") if isinstance(response, dict) else None
    status = response.get("status") if isinstance(response, dict) else None
    told = error.get("message") if isinstance(error, dict) else error
    words = (
        told
        if isinstance(told, str) and told
        else f"the upstream's response has the status {status or 'failed'!r}"
    )
    return ErrorEventError(words[:_MAX_MESSAGE], error=error, upstream_status=status_of(error))
