"""OpenAI chat completions as a dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import continuation
from everytoken.dialects.openai_chat.message import Accumulator
from everytoken.dialects.openai_chat.non_streaming import chunks_in
from everytoken.dialects.openai_chat.pieces import ChatHistory, ChatRewriter, identity_of
from everytoken.dialects.openai_chat.reader import ChatReader
from everytoken.dialects.openai_chat.request import ChatRequest
from everytoken.dialects.openai_chat.usage import total_usage, usage_estimate
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.dialect import Dialect, Request, Usage

__all__ = ["OPENAI_CHAT"]


class _OpenAIChat:
    name = ChatRequest.dialect
    path = "/chat/completions"
    end_mark = b"data: [DONE]\n\n"
    headers: Mapping[str, str] = {}  # of a value

    def request(self, body: Mapping[str, Any]) -> ChatRequest:
        return ChatRequest(body)

    def body(
        self, request: Request, *, model: str | None, seed: int | None, usage: bool, extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        return continuation.streaming(request, model=model, seed=seed, usage=usage, extra=extra)

    def prefix(self, request: Request, text: str) -> str:  # noqa: ARG002  # servers take any text
        return text

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

    def history(self) -> ChatHistory:
        return ChatHistory()

    def decoder(
        self, request: Any, history: Any, *, first: bool, usage: bool = False, omits_end: bool = False
    ) -> ChatReader:
        return ChatReader(request, history, first=first, usage=usage, omits_finish_reason=omits_end)

    def rewriter(self, history: Any, first: bytes | None) -> ChatRewriter:
        return ChatRewriter(history, first)

    def records_in(self, body: bytes) -> list[bytes]:
        return chunks_in(body)

    def model_in(self, record: bytes) -> str:
        model = identity_of(record).get("model")
        return model if isinstance(model, str) else ""

    def total_usage(self, reports: Sequence[tuple[Usage | None, int]]) -> Usage | None:
        return total_usage(reports)

    def closing(
        self,
        request: Request,
        history: Any,  # noqa: ARG002  # the identity of the first record is enough
        first: bytes | None,
        *,
        usage: Usage | None,
        attempts: Sequence[Mapping[str, Any]],
    ) -> list[bytes]:
        """Return the usage chunk of a response whose upstream gave none, or that took several attempts."""
        if not request.shows_usage:
            return []
        chunk: dict[str, Any] = {
            "id": "",
            "created": 0,
            "model": request.model,
            **identity_of(first),
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": usage or usage_estimate(0),
        }
        if len(attempts) > 1:
            # What came before the last may have been of another model.
            answered = max(attempts, key=lambda one: (one["cause"] is None, one["ended"] or 0.0))
            chunk["model"] = answered["model"] or chunk["model"]
            chunk["everytoken"] = {"attempts": attempts}
        return [dumps(chunk)]

    def with_total(
        self,
        last: bytes,
        *,
        usage: Usage | None,  # noqa: ARG002
        attempts: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> bytes:
        """Return the record as it is: the chunk with the usage has been delivered, or follows it."""
        return last

    def error(self, body: Mapping[str, Any], *, number: int) -> bytes:  # noqa: ARG002  # chunks have no number
        return dumps(body)

    def refusal(self, body: Mapping[str, Any], *, status: int) -> dict[str, Any]:  # noqa: ARG002  # it tells by itself
        return dict(body)

    def accumulator(self) -> Accumulator:
        return Accumulator()


OPENAI_CHAT: Dialect = _OpenAIChat()
