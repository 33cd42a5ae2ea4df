"""Spans that are made when they have ended: until then only their identity and their sampling count.

A live span of the SDK takes a lock and copies its attributes at each change, which costs as much as half a response. So
spans are kept as plain values, and given to the SDK's processor as `ReadableSpan`s. Identities, sampling and limits are the
SDK's own, as `OTEL_*` variables set them. See docs/decisions/0036.
"""

from __future__ import annotations

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

__all__ = ["SpanKind", "Started", "Tracing"]

_TRACE: Final = TraceContextTextMapPropagator()
_NOWHERE: Final = Context()
_UNSET: Final = Status(StatusCode.UNSET)


class Started:
    """A span that has begun. `attributes` may be added to until it ends; `context` is its identity."""

    __slots__ = ("_above", "attributes", "context", "events", "kind", "name", "parent", "start")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: dict[str, Any],
        start: int,
    ) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.attributes = attributes
        self.events: list[Event] = []
        self.start = start
        self._above: Context | None = None

    @property
    def above(self) -> Context:
        """The context of what belongs to this span."""
        if self._above is None:
            self._above = set_span_in_context(NonRecordingSpan(self.context), Context())
        return self._above

    def headers(self) -> dict[str, str]:
        """Return the headers of W3C Trace Context that name this span as the parent."""
        headers: dict[str, str] = {}
        _TRACE.inject(headers, self.above)
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
        self, name: str, kind: SpanKind, attributes: dict[str, Any], start: int, above: Context | None = None
    ) -> Started:
        """Begin a span, in the context `above`: that of another span, or one that `context_of` has read."""
        parent: SpanContext | None = None
        if above is not None:
            parent = get_current_span(above).get_span_context()
        if parent is None or not parent.is_valid:
            parent, trace = None, self._ids.generate_trace_id()
        else:
            trace = parent.trace_id
        sampled = self._sampler.should_sample(
            _NOWHERE if above is None else above, trace, name, kind, attributes
        )
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

    @staticmethod
    def event(span: Started, name: str, attributes: dict[str, Any], at: int) -> None:
        """Add an event to a span."""
        span.events.append(Event(name, attributes, at))

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
