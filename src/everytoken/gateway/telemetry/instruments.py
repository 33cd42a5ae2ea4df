"""The metrics of OpenTelemetry's GenAI conventions, recorded when a response has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.gateway.metrics.labels import code_label
from everytoken.gateway.metrics.names import (
    OPERATION_BOUNDS,
    PER_CHUNK_BOUNDS,
    PER_CHUNK_MEANING,
    TO_FIRST_BOUNDS,
    TOKEN_BOUNDS,
)
from everytoken.gateway.metrics.tallies import Distribution
from everytoken.gateway.metrics.usage import operation_of, per_chunk, provider_of, tokens_of
from everytoken.gateway.telemetry.reading import Measured

if TYPE_CHECKING:
    from everytoken.gateway.metrics.labels import ModelLabels
    from everytoken.observer import ResponseBegun, ResponseEnded

__all__ = ["Instruments"]

_GEN_AI: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")


class Instruments:
    """Four distributions. The models in their attributes are bounded, as Prometheus's labels are."""

    def __init__(self, models: ModelLabels) -> None:
        self._models = models
        self._duration = Distribution(
            "gen_ai.client.operation.duration",
            "GenAI operation duration.",
            (*_GEN_AI, "error.type"),
            bounds=OPERATION_BOUNDS,
        )
        self._to_first = Distribution(
            "gen_ai.client.operation.time_to_first_chunk",
            "Time to the first content of a streamed response.",
            _GEN_AI,
            bounds=TO_FIRST_BOUNDS,
        )
        self._per_chunk = Distribution(
            "gen_ai.client.operation.time_per_output_chunk",
            PER_CHUNK_MEANING,
            _GEN_AI,
            bounds=PER_CHUNK_BOUNDS,
        )
        self._tokens = Distribution(
            "gen_ai.client.token.usage",
            "Number of input and output tokens used, over all attempts.",
            (*_GEN_AI, "gen_ai.token.type"),
            bounds=TOKEN_BOUNDS,
        )
        self.measured = (
            Measured(self._duration, "s"),
            Measured(self._to_first, "s"),
            Measured(self._per_chunk, "s"),
            Measured(self._tokens, "{token}"),
        )

    def ended(self, begun: ResponseBegun, event: ResponseEnded) -> None:
        """Record a response."""
        completed = event.outcome == "completed"
        model = (self._models.completed if completed else self._models.label)(begun.model)
        key = (operation_of(begun.dialect), provider_of(begun.dialect), model)
        self._duration.observe(event.seconds, *key, "" if event.error is None else code_label(event.error))
        if begun.streamed and event.first_content is not None:
            self._to_first.observe(event.first_content, *key)
        mean = per_chunk(begun, event)
        if mean is not None:
            self._per_chunk.observe(mean, *key)
        for kind, count in tokens_of(begun.dialect, event.usage):
            if kind in {"input", "output"}:
                self._tokens.observe(count, *key, kind)
