"""The metrics of OpenTelemetry's GenAI conventions, recorded when a response has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.gateway.metrics.labels import code_label
from everytoken.gateway.metrics.names import (
    OPERATION_BOUNDS,
    PER_CHUNK_BOUNDS,
    PER_CHUNK_MEANING,
    TO_FIRST_BOUNDS,
    TOKEN_BOUNDS,
)
from everytoken.gateway.metrics.usage import operation_of, per_chunk, provider_of, tokens_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from everytoken.gateway.metrics.labels import ModelLabels
    from everytoken.observer import ResponseBegun, ResponseEnded

__all__ = ["Instruments"]


class Instruments:
    """Four histograms. The models in their attributes are bounded, as Prometheus's labels are."""

    def __init__(self, meter: Meter, models: ModelLabels) -> None:
        self._models = models
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=OPERATION_BOUNDS,
        )
        self._to_first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to the first content of a streamed response.",
            explicit_bucket_boundaries_advisory=TO_FIRST_BOUNDS,
        )
        self._per_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_per_output_chunk",
            unit="s",
            description=PER_CHUNK_MEANING,
            explicit_bucket_boundaries_advisory=PER_CHUNK_BOUNDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used, over all attempts.",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )

    def ended(self, begun: ResponseBegun, event: ResponseEnded) -> None:
        """Record a response."""
        completed = event.outcome == "completed"
        model = (self._models.completed if completed else self._models.label)(begun.model)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation_of(begun.dialect),
            "gen_ai.provider.name": provider_of(begun.dialect),
            "gen_ai.request.model": model,
        }
        error = {} if event.error is None else {"error.type": code_label(event.error)}
        self._duration.record(event.seconds, {**attributes, **error})
        if begun.streamed and event.first_content is not None:
            self._to_first.record(event.first_content, attributes)
        mean = per_chunk(begun, event)
        if mean is not None:
            self._per_chunk.record(mean, attributes)
        for kind, count in tokens_of(begun.dialect, event.usage):
            if kind in {"input", "output"}:
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
