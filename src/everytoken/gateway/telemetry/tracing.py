"""Spans as plain values, which become the SDK's spans when they end.

A live span of the SDK takes a lock and copies its attributes at each change. For one response that costs about half as
much as the response itself. The SDK still decides on ids, sampling and limits, as the `OTEL_*` variables say. See
docs/decisions/0036.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

__all__ = ["Started", "Tracing"]

_TRACE: Final = TraceContextTextMapPropagator()
_NOWHERE: Final = Context()
_UNSET: Final = Status(StatusCode.UNSET)


@dataclass(slots=True)
class Started:
    """A span that has begun at `start`. `attributes` and `events` may be added to until it ends."""

    name: str
    kind: SpanKind
    context: SpanContext
    parent: SpanContext | None
    attributes: dict[str, Any]
    start: int
    events: list[Event] = field(default_factory=list)
    _as_parent: Context | None = None

    @property
    def as_parent(self) -> Context:
        """The context in which this span is the parent."""
        if self._as_parent is None:
            self._as_parent = set_span_in_context(NonRecordingSpan(self.context), Context())
        return self._as_parent

    def add_event(self, name: str, attributes: dict[str, Any], at: int) -> None:
        """Record something that has happened meanwhile."""
        self.events.append(Event(name, attributes, at))

    def headers(self) -> dict[str, str]:
        """Return the headers of W3C Trace Context that name this span as the parent."""
        headers: dict[str, str] = {}
        _TRACE.inject(headers, self.as_parent)
        return headers


class Tracing:
    """Begins spans and gives those that have ended to `processor`, if there is one. Times are in nanoseconds since 1970."""

    def __init__(
        self, provider: TracerProvider, processor: SpanProcessor | None, name: str, version: str
    ) -> None:
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._resource = provider.resource
        self._processor = processor
        self._scope = InstrumentationScope(name, version)
        limits = SpanLimits()
        self._most = limits.max_span_attributes
        self._longest = limits.max_span_attribute_length

    def begin(
        self, name: str, kind: SpanKind, attributes: dict[str, Any], start: int, within: Context = _NOWHERE
    ) -> Started:
        """Begin a span. `within`: the context that names its parent, that of another span or one from `context_of`."""
        parent: SpanContext | None = get_current_span(within).get_span_context()
        if parent is None or not parent.is_valid:
            parent, trace = None, self._ids.generate_trace_id()
        else:
            trace = parent.trace_id
        sampled = self._sampler.should_sample(within, trace, name, kind, attributes)
        is_random = (
            self._ids.is_trace_id_random()
            if parent is None
            else parent.trace_flags & TraceFlags.RANDOM_TRACE_ID
        )
        flags = TraceFlags.SAMPLED if sampled.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
        context = SpanContext(
            trace,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(flags | (TraceFlags.RANDOM_TRACE_ID if is_random else 0)),
            trace_state=sampled.trace_state or TraceState(),
        )
        return Started(name, kind, context, parent, dict(sampled.attributes or ()), start)

    @staticmethod
    def context_of(headers: Mapping[str, str]) -> Context:
        """Return the context that the headers of W3C Trace Context name."""
        return _TRACE.extract(headers, Context())

    def end(self, span: Started, at: int, error: str | None = None) -> None:
        """End a span; `error`: what makes it a failure. One that is not sampled is forgotten."""
        if self._processor is None or not span.context.trace_flags.sampled:
            return
        self._processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self._resource,
                self._limited(span.attributes),
                span.events,
                kind=span.kind,
                status=_UNSET if error is None else Status(StatusCode.ERROR, error),
                start_time=span.start,
                end_time=at,
                instrumentation_scope=self._scope,
            )
        )

    def _limited(self, attributes: dict[str, Any]) -> dict[str, Any]:
        most, longest = self._most, self._longest
        if longest is not None:
            attributes = {
                name: value[:longest] if isinstance(value, str) else value
                for name, value in attributes.items()
            }
        if most is not None and len(attributes) > most:
            attributes = dict(list(attributes.items())[:most])
        return attributes
