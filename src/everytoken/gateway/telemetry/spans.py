"""A span for each response, with a span for each of its attempts inside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind

from everytoken.gateway.metrics.labels import OTHER
from everytoken.gateway.metrics.usage import operation_of, provider_of, tokens_of
from everytoken.gateway.passing import passed_up
from everytoken.observer import (
    AttemptBegun,
    AttemptEnded,
    FirstContent,
    ResponseBegun,
    ResponseEnded,
    ResponseHandedOver,
    Seam,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everytoken.gateway.metrics.labels import ModelLabels
    from everytoken.gateway.telemetry.tracing import Started, Tracing
    from everytoken.observer import Event

__all__ = ["Spans"]

_FIELDS: Final = frozenset({"traceparent", "tracestate"})
_USAGE: Final = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}
_MAX_MODEL: Final = 200  # characters of a name that callers choose
_MAX_MESSAGE: Final = 500  # characters of an error's text


class _Open:
    """The spans of a response that is being written."""

    __slots__ = ("attempts", "begun", "common", "name", "span")

    def __init__(self, begun: ResponseBegun, span: Started, name: str, common: dict[str, Any]) -> None:
        self.begun = begun
        self.span = span
        self.name = name
        self.common = common  # attributes of all its spans
        self.attempts: dict[int, Started] = {}


class Spans:
    """An observer that makes spans. `ended` is called with the first and the last event of each response.

    `pass_up` returns the names of headers that upstreams get: without `traceparent` among them, none gets one.
    """

    wants_commits = False

    def __init__(
        self,
        tracing: Tracing,
        models: ModelLabels,
        ended: Callable[[ResponseBegun, ResponseEnded], None],
        redact: Callable[[str], str],
        pass_up: Callable[[], Sequence[str]],
    ) -> None:
        self._tracing = tracing
        self._models = models
        self._told = ended
        self._redact = redact
        self._pass_up = pass_up
        self._open: dict[str, _Open] = {}

    def __call__(self, event: Event) -> None:
        """Begin, complete or end a span."""
        if isinstance(event, ResponseBegun):
            self._begun(event)
            return
        one = self._open.get(getattr(event, "response", ""))
        if one is None:
            return
        if isinstance(event, AttemptBegun):
            self._attempt_begun(one, event)
        elif isinstance(event, FirstContent):
            if (span := one.attempts.get(event.attempt)) is not None:
                span.attributes["gen_ai.response.time_to_first_chunk"] = event.seconds
        elif isinstance(event, Seam):
            attributes: dict[str, Any] = {
                "everytoken.attempt": event.attempt,
                "everytoken.upstream": event.upstream,
                "everytoken.strategy": event.strategy,
                "everytoken.offset": event.offset,
                "everytoken.gap": event.seconds,
            }
            one.span.add_event("seam", attributes, _ns(event.at))
        elif isinstance(event, AttemptEnded):
            if (span := one.attempts.pop(event.attempt, None)) is not None:
                self._end(span, event.at, event.cause, event.message, _usage(one, event.usage))
        elif isinstance(event, ResponseEnded):
            self._ended(one, event)
        elif isinstance(event, ResponseHandedOver):
            self._end_all(event.response, one, event.at)
            self._end(one.span, event.at, None, None, {"everytoken.handed_over": True})

    def _begun(self, event: ResponseBegun) -> None:
        trace = {"traceparent": event.traceparent, "tracestate": event.tracestate}
        common, name = self._common(event), self._name(event)
        attributes: dict[str, Any] = {
            **common,
            "everytoken.response": event.response,
            "everytoken.request_id": event.request_id,
            "gen_ai.request.stream": event.streamed,
        }
        if event.offset is not None:
            attributes["everytoken.taken_over_at"] = event.offset
        given = {name: value for name, value in trace.items() if value}
        span = self._tracing.begin(
            name, SpanKind.SERVER, attributes, _ns(event.at), self._tracing.context_of(given)
        )
        self._open[event.response] = _Open(event, span, name, common)

    def _attempt_begun(self, one: _Open, event: AttemptBegun) -> None:
        attributes: dict[str, Any] = {
            **one.common,
            "everytoken.attempt": event.attempt,
            "everytoken.upstream": event.upstream,
            "everytoken.strategy": event.strategy,
            "everytoken.offset": event.offset,
            "gen_ai.request.stream": event.streamed,
        }
        one.attempts[event.attempt] = self._tracing.begin(
            one.name, SpanKind.CLIENT, attributes, _ns(event.at), one.span.as_parent
        )

    def _ended(self, one: _Open, event: ResponseEnded) -> None:
        self._told(one.begun, event)
        attributes: dict[str, Any] = {
            "everytoken.outcome": event.outcome,
            "everytoken.attempts": event.attempts,
            "everytoken.records": event.records,
            **_usage(one, event.usage),
        }
        if event.first_content is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = event.first_content
        fails = event.outcome != "cancelled"  # what somebody asked for is no failure
        self._end_all(event.response, one, event.at)
        self._end(one.span, event.at, event.error, event.message, attributes, fails=fails)

    def _end_all(self, response: str, one: _Open, at: float) -> None:
        """Forget a response, and end those of its attempts that nobody has told the end of."""
        del self._open[response]
        for span in one.attempts.values():
            self._tracing.end(span, _ns(at))

    def _end(
        self,
        span: Started,
        at: float,
        error: str | None,
        message: str | None,
        attributes: dict[str, Any],
        *,
        fails: bool = True,
    ) -> None:
        span.attributes.update(attributes)
        if error is not None:
            span.attributes["error.type"] = error
        failed = (message or error or "")[:_MAX_MESSAGE] if error is not None and fails else None
        self._tracing.end(span, _ns(at), failed)

    def headers(self, response: str, attempt: int, given: Mapping[str, str] | None) -> dict[str, str]:
        """Return the headers of an attempt: those that are `given`, with the attempt's own trace in place of the caller's."""
        headers = dict(given or {})
        one = self._open.get(response)
        span = None if one is None else one.attempts.get(attempt)
        if span is None:
            return headers
        trace = span.headers()
        allowed = passed_up(
            ((name.encode(), value.encode()) for name, value in trace.items()), self._pass_up()
        )
        return {**{name: value for name, value in headers.items() if name not in _FIELDS}, **allowed}

    def stop(self) -> None:
        """End what is still open: it is written on by another process, or lost."""
        now = time.time_ns()
        for one in self._open.values():
            for span in (*one.attempts.values(), one.span):
                self._tracing.end(span, now)
        self._open.clear()

    def _common(self, begun: ResponseBegun) -> dict[str, Any]:
        return {
            "gen_ai.operation.name": operation_of(begun.dialect),
            "gen_ai.provider.name": provider_of(begun.dialect),
            "gen_ai.request.model": self._redact(begun.model)[:_MAX_MODEL],
        }

    def _name(self, begun: ResponseBegun) -> str:
        """Return the name of a span, of which there may be only so many: an unknown model is not in it."""
        label, operation = self._models.label(begun.model), operation_of(begun.dialect)
        return operation if label == OTHER else f"{operation} {label}"


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _usage(one: _Open, usage: dict[str, Any] | None) -> dict[str, Any]:
    return {_USAGE[kind]: count for kind, count in tokens_of(one.begun.dialect, usage)}
