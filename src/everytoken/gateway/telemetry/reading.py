"""Hands our own counts to OpenTelemetry's exporter, in the SDK's form, each time it exports."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from everytoken.gateway.metrics.tallies import Distribution, Key

__all__ = ["Measured", "Readings", "reader_of"]

_TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_DELTA: Final = {"DELTA", "LOWMEMORY"}  # for histograms both are the same


class Measured(NamedTuple):
    """A distribution and its unit. The distribution's labels are the attributes; one that is empty is left out."""

    distribution: Distribution
    unit: str


class Readings:
    """Some distributions, in the SDK's form: all that was counted, or what is new since the last reading."""

    def __init__(
        self, measured: Sequence[Measured], resource: Resource, scope: InstrumentationScope, now: int
    ) -> None:
        self._measured = measured
        self._resource = resource
        self._scope = scope
        delta = os.environ.get(_TEMPORALITY, "").strip().upper() in _DELTA
        self._temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        self._since = now
        self._told: dict[tuple[str, Key], tuple[float, ...]] = {}  # of deltas: what the reading before had

    def read(self, now: int) -> MetricsData | None:
        """Return what there is at `now` (nanoseconds since 1970); None for nothing."""
        metrics = [self._metric(one, now) for one in self._measured]
        if self._temporality is AggregationTemporality.DELTA:
            self._since = now
        metrics = [metric for metric in metrics if metric.data.data_points]
        if not metrics:
            return None
        scoped = ScopeMetrics(scope=self._scope, metrics=metrics, schema_url="")
        told = ResourceMetrics(
            resource=self._resource, scope_metrics=[scoped], schema_url=self._resource.schema_url
        )
        return MetricsData(resource_metrics=[told])

    def _metric(self, measured: Measured, now: int) -> Metric:
        distribution, unit = measured
        points = []
        for key, row in list(distribution.rows.items()):  # the loop's thread may add to it
            *counts, total = self._new(distribution, key, tuple(row))
            if any(counts):
                points.append(self._point(distribution, key, [int(count) for count in counts], total, now))
        data = Histogram(data_points=points, aggregation_temporality=self._temporality)
        return Metric(name=distribution.name, description=distribution.meaning, unit=unit, data=data)

    def _new(self, distribution: Distribution, key: Key, row: tuple[float, ...]) -> tuple[float, ...]:
        if self._temporality is AggregationTemporality.CUMULATIVE:
            return row
        before = self._told.get((distribution.name, key), (0,) * len(row))
        self._told[distribution.name, key] = row
        return tuple(now - then for now, then in zip(row, before, strict=True))

    def _point(
        self, distribution: Distribution, key: Key, counts: list[int], total: float, now: int
    ) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes={name: value for name, value in zip(distribution.labels, key, strict=True) if value},
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=distribution.bounds,
            min=None,  # type: ignore[arg-type]  # optional in OTLP, and not kept
            max=None,  # type: ignore[arg-type]
        )


def reader_of(exporter: MetricExporter, readings: Readings) -> PeriodicExportingMetricReader:
    """Return what exports the readings from a thread, as often as `OTEL_METRIC_EXPORT_INTERVAL` says (milliseconds)."""
    reader = PeriodicExportingMetricReader(exporter)
    # As a MeterProvider does it; the SDK has no other way in for what was counted elsewhere.
    reader._set_collect_callback(lambda _reader, **_timeout: readings.read(time.time_ns()))  # type: ignore[arg-type] # noqa: SLF001
    return reader
