"""OpenAI Responses as a dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_responses import request as requests
from everytoken.dialects.openai_responses.decoder import ResponsesReader
from everytoken.dialects.openai_responses.history import TERMINAL, ResponsesHistory, object_in
from everytoken.dialects.openai_responses.message import Accumulator
from everytoken.dialects.openai_responses.non_streaming import events_in
from everytoken.dialects.openai_responses.rewrite import ResponsesRewriter
from everytoken.dialects.openai_responses.usage import total_usage
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.dialect import Dialect, Request, Usage

__all__ = ["OPENAI_RESPONSES"]


class _OpenAIResponses:
    name = requests.ResponsesRequest.dialect
    path = "/responses"
    headers: Mapping[str, str] = {}  # never changed
    end_mark = b""  # the last event says itself that it is the last

    def request(self, body: Mapping[str, Any]) -> requests.ResponsesRequest:
        return requests.ResponsesRequest(body)

    def body(
        self,
        request: Request,
        *,
        model: str | None,
        seed: int | None,
        usage: bool,  # noqa: ARG002  # it always comes
        extra: Mapping[str, Any],
    ) -> dict[str, Any]:
        return requests.streaming(request, model=model, seed=seed, extra=extra)

    def prefix(self, request: Request, text: str) -> str:  # noqa: ARG002
        """Return nothing: an answer has items around its text, which a prefill would have to invent."""
        return ""

    def prefill(
        self,
        body: Mapping[str, Any],
        text: str,
        *,
        extra: Mapping[str, Any],
        message_extra: Mapping[str, Any],  # noqa: ARG002  # messages have no such fields here
        delivered_tokens: int,  # noqa: ARG002
    ) -> dict[str, Any]:
        return requests.prefill(body, text, extra=extra)

    def non_streaming(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return requests.non_streaming(body)

    def history(self) -> ResponsesHistory:
        return ResponsesHistory()

    def decoder(
        self,
        request: Any,
        history: Any,
        *,
        first: bool,
        usage: bool = False,  # noqa: ARG002  # it is a part of the last event
        omits_end: bool = False,  # noqa: ARG002  # no server leaves its last event out
    ) -> ResponsesReader:
        return ResponsesReader(request, history, first=first)

    def rewriter(self, history: Any, first: bytes | None) -> ResponsesRewriter:
        return ResponsesRewriter(history, first)

    def records_in(self, body: bytes) -> list[bytes]:
        return events_in(body)

    def total_usage(self, reports: Sequence[tuple[Usage | None, int]]) -> Usage | None:
        return total_usage(reports)

    def closing(
        self,
        request: Request,  # noqa: ARG002
        history: Any,  # noqa: ARG002
        first: bytes | None,  # noqa: ARG002
        *,
        usage: Usage | None,  # noqa: ARG002
        attempts: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> list[bytes]:
        """Return nothing: nothing may follow the last event."""
        return []

    def with_total(self, last: bytes, *, usage: Usage | None, attempts: Sequence[Mapping[str, Any]]) -> bytes:
        """Return the last event with what all attempts used, and with what they were."""
        event = object_in(last)
        if event.get("type") not in TERMINAL:
            return last
        event["response"] |= {"usage": usage, "everytoken": {"attempts": attempts}}
        return dumps(event)

    def error(self, body: Mapping[str, Any], *, number: int) -> bytes:
        """Return an `error` event. It has the error object too: official SDKs raise for that, and only for that."""
        error = body["error"]
        event = {
            "type": "error",
            "code": error.get("code"),
            "message": error["message"],
            "param": error.get("param"),
            "sequence_number": number,
            "error": error,
        }
        return dumps(event)

    def refusal(self, body: Mapping[str, Any], *, status: int) -> dict[str, Any]:  # noqa: ARG002
        return dict(body)

    def accumulator(self) -> Accumulator:
        return Accumulator()


OPENAI_RESPONSES: Dialect = _OpenAIResponses()
