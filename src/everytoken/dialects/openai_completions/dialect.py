"""OpenAI's completions as a dialect: a response is repeated, never continued by a prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import continuation
from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.dialects.openai_chat.non_streaming import chunks_in
from everytoken.dialects.openai_chat.usage import total_usage
from everytoken.dialects.openai_completions.chunks import as_completion, whole_as_chat
from everytoken.dialects.openai_completions.reader import (
    CompletionsAccumulator,
    CompletionsHistory,
    CompletionsReader,
    CompletionsRewriter,
)
from everytoken.dialects.openai_completions.request import CompletionsRequest
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.dialect import Dialect, Request, Usage

__all__ = ["OPENAI_COMPLETIONS"]


class _OpenAICompletions:
    name = CompletionsRequest.dialect
    path = "/completions"
    end_mark = OPENAI_CHAT.end_mark
    headers: Mapping[str, str] = {}  # of a value

    def request(self, body: Mapping[str, Any]) -> CompletionsRequest:
        return CompletionsRequest(body)

    def body(
        self, request: Request, *, model: str | None, seed: int | None, usage: bool, extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        return continuation.streaming(request, model=model, seed=seed, usage=usage, extra=extra)

    def prefix(self, request: Request, text: str) -> str:  # noqa: ARG002
        """Return nothing: a prompt with the text behind it is another prompt, cut into other tokens."""
        return ""

    def prefill(
        self,
        body: Mapping[str, Any],
        text: str,  # noqa: ARG002  # see `prefix`
        *,
        extra: Mapping[str, Any],  # noqa: ARG002
        message_extra: Mapping[str, Any],  # noqa: ARG002
        delivered_tokens: int,  # noqa: ARG002
    ) -> dict[str, Any]:
        return dict(body)

    def non_streaming(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return continuation.non_streaming(body)

    def history(self) -> CompletionsHistory:
        return CompletionsHistory()

    def decoder(
        self,
        request: Any,
        history: Any,
        *,
        first: bool,
        usage: bool = False,
        omits_end: bool = False,  # noqa: ARG002  # `[DONE]` is always believed
    ) -> CompletionsReader:
        return CompletionsReader(request, history, first=first, usage=usage)

    def rewriter(self, history: Any, first: bytes | None) -> CompletionsRewriter:
        return CompletionsRewriter(history, first)

    def records_in(self, body: bytes) -> list[bytes]:
        return [as_completion(record) for record in chunks_in(whole_as_chat(body))]

    def total_usage(self, reports: Sequence[tuple[Usage | None, int]]) -> Usage | None:
        return total_usage(reports)

    def closing(
        self,
        request: Request,
        history: Any,
        first: bytes | None,
        *,
        usage: Usage | None,
        attempts: Sequence[Mapping[str, Any]],
    ) -> list[bytes]:
        """Return the usage chunk of a response whose upstream gave none, or that took several attempts."""
        told = OPENAI_CHAT.closing(request, history, first, usage=usage, attempts=attempts)
        return [as_completion(record) for record in told]

    def with_total(
        self,
        last: bytes,
        *,
        usage: Usage | None,  # noqa: ARG002
        attempts: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> bytes:
        """Return the record as it is, as in chat completions."""
        return last

    def error(self, body: Mapping[str, Any], *, number: int) -> bytes:  # noqa: ARG002  # chunks have no number
        return dumps(body)

    def refusal(self, body: Mapping[str, Any], *, status: int) -> dict[str, Any]:  # noqa: ARG002  # it tells by itself
        return dict(body)

    def accumulator(self) -> CompletionsAccumulator:
        return CompletionsAccumulator()


OPENAI_COMPLETIONS: Dialect = _OpenAICompletions()
