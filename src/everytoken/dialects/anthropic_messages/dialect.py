"""Anthropic Messages as a dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.anthropic_messages import continuation
from everytoken.dialects.anthropic_messages.decoder import MessagesDecoder
from everytoken.dialects.anthropic_messages.errors import error_of
from everytoken.dialects.anthropic_messages.history import MessagesHistory, MessagesRewriter
from everytoken.dialects.anthropic_messages.message import Accumulator
from everytoken.dialects.anthropic_messages.non_streaming import events_in
from everytoken.dialects.anthropic_messages.request import MessagesRequest
from everytoken.dialects.anthropic_messages.usage import merged, total_usage
from everytoken.json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.dialect import Dialect, Request, Usage

__all__ = ["ANTHROPIC_MESSAGES"]

_STOP = b'{"type":"message_stop"}'


class _AnthropicMessages:
    name = MessagesRequest.dialect
    path = "/messages"
    end_mark = b""
    headers: Mapping[str, str] = {"anthropic-version": "2023-06-01"}  # of a value

    def request(self, body: Mapping[str, Any]) -> MessagesRequest:
        return MessagesRequest(body)

    def body(
        self,
        request: Request,
        *,
        model: str | None,
        seed: int | None,  # noqa: ARG002  # the API has none
        usage: bool,  # noqa: ARG002  # it always comes
        extra: Mapping[str, Any],
    ) -> dict[str, Any]:
        return continuation.streaming(request, model=model, extra=extra)

    def prefix(self, request: Request, text: str) -> str:
        return continuation.prefix(request, text)

    def prefill(
        self,
        body: Mapping[str, Any],
        text: str,
        *,
        extra: Mapping[str, Any],
        message_extra: Mapping[str, Any],
        delivered_tokens: int,
    ) -> dict[str, Any]:
        return continuation.prefill(
            body, text, extra=extra, message_extra=message_extra, delivered_tokens=delivered_tokens
        )

    def non_streaming(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return continuation.non_streaming(body)

    def history(self) -> MessagesHistory:
        return MessagesHistory()

    def decoder(
        self,
        request: Any,  # noqa: ARG002
        history: Any,
        *,
        first: bool,
        usage: bool = False,  # noqa: ARG002  # it is told at the end
        omits_end: bool = False,
    ) -> MessagesDecoder:
        return MessagesDecoder(history, first=first, omits_end=omits_end)

    def rewriter(self, history: Any, first: bytes | None) -> MessagesRewriter:  # noqa: ARG002
        return MessagesRewriter(history)

    def records_in(self, body: bytes) -> list[bytes]:
        return events_in(body)

    def model_in(self, record: bytes) -> str:
        message = loads(record).get("message")
        model = message.get("model") if isinstance(message, dict) else None
        return model if isinstance(model, str) else ""

    def total_usage(self, reports: Sequence[tuple[Usage | None, int]]) -> Usage | None:
        return total_usage(reports)

    def closing(
        self,
        request: Request,  # noqa: ARG002
        history: Any,
        first: bytes | None,  # noqa: ARG002
        *,
        usage: Usage | None,
        attempts: Sequence[Mapping[str, Any]],
    ) -> list[bytes]:
        """Return `message_delta` and `message_stop`, as they came; over several attempts with what all used."""
        if history.stopped:
            return []
        if history.ended:
            return [_STOP]
        ending = [event.encode("utf-8", "surrogatepass") for event in history.ending] or [_STOP]
        if len(attempts) > 1 and len(ending) > 1:
            last = loads(ending[-2])
            told = merged(last.get("usage"), usage)
            ending[-2] = dumps({**last, "usage": told, "everytoken": {"attempts": attempts}})
        return ending

    def with_total(
        self,
        last: bytes,
        *,
        usage: Usage | None,  # noqa: ARG002
        attempts: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> bytes:
        """Return the record as it is: `closing` tells the usage."""
        return last

    def error(self, body: Mapping[str, Any], *, number: int) -> bytes:  # noqa: ARG002  # events have no number
        return dumps(error_of(body))

    def refusal(self, body: Mapping[str, Any], *, status: int) -> dict[str, Any]:
        return error_of(body, status)

    def accumulator(self) -> Accumulator:
        return Accumulator()


ANTHROPIC_MESSAGES: Dialect = _AnthropicMessages()
"""The Messages API of Anthropic, and of servers that speak it."""
