"""OpenTelemetry's SDK, set up for one gateway: its own providers, never the process's global ones."""

from __future__ import annotations

import os
import time
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from everytoken.gateway.telemetry.instruments import Instruments
from everytoken.gateway.telemetry.reading import Readings, reader_of
from everytoken.gateway.telemetry.spans import Spans
from everytoken.gateway.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from everytoken.gateway.metrics.labels import ModelLabels
    from everytoken.observer import ResponseBegun, ResponseEnded

__all__ = ["Exporting"]

_SCOPE: Final = "everytoken.gateway"
_UNNAMED: Final = "unknown_service"


class Exporting:
    """What exports spans and metrics, and what feeds it. `OTEL_*` variables say where to and how; see the SDK's documentation.

    `pass_up` returns the names of headers that upstreams get.
    """

    def __init__(
        self, models: ModelLabels, *, redact: Callable[[str], str], pass_up: Callable[[], Sequence[str]]
    ) -> None:
        self.models = models
        resource = _resource()
        self._exporters: list[OTLPSpanExporter | OTLPMetricExporter] = []
        self._processor: SpanProcessor | None = None
        if _is_wanted("OTEL_TRACES_EXPORTER"):
            self._exporters.append(exporter := OTLPSpanExporter())
            self._processor = BatchSpanProcessor(exporter)
        release = version("everytoken")
        self._reader: PeriodicExportingMetricReader | None = None
        instruments = None
        if _is_wanted("OTEL_METRICS_EXPORTER"):
            instruments = Instruments(models)
            self._exporters.append(metrics := OTLPMetricExporter())
            scope = InstrumentationScope(_SCOPE, release)
            self._reader = reader_of(metrics, Readings(instruments.measured, resource, scope, time.time_ns()))
        spans = Spans(
            Tracing(
                TracerProvider(resource=resource, shutdown_on_exit=False), self._processor, _SCOPE, release
            ),
            models,
            _nothing if instruments is None else instruments.ended,
            redact,
            pass_up,
        )
        self._spans = spans
        self.observe = spans
        self.headers = spans.headers

    def stop(self) -> None:
        """Export what there is and end the threads. It may take as long as the collector does, so call it in a thread."""
        self._spans.stop()
        if self._processor is not None:
            self._processor.shutdown()
        if self._reader is not None:
            self._reader.shutdown()

    def give_up(self) -> None:
        """Try nothing again, so that the threads end."""
        for exporter in self._exporters:
            exporter.shutdown()


def _is_wanted(variable: str) -> bool:
    """Whether a signal is exported: anything but `none` means OTLP, which is all we have."""
    return os.environ.get(variable, "").strip().lower() != "none"


def _nothing(begun: ResponseBegun, ended: ResponseEnded) -> None:
    """Stand for metrics that nobody wants."""


def _resource() -> Resource:
    """Return what is exporting: as `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, or `everytoken`."""
    told = Resource.create()
    ours = {"service.version": version("everytoken"), "service.instance.id": str(uuid.uuid4())}
    missing = {name: value for name, value in ours.items() if name not in told.attributes}
    if str(told.attributes.get("service.name", _UNNAMED)).startswith(_UNNAMED):
        missing["service.name"] = "everytoken"
    return told.merge(Resource(missing))
