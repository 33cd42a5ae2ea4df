"""Our counts in the form of OpenTelemetry's SDK."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from everytoken.gateway.metrics.tallies import Distribution
from everytoken.gateway.telemetry.reading import Measured, Readings
from otlp_receiver import values

PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
CUMULATIVE, DELTA = 2, 1  # AggregationTemporality of OTLP


def distribution():
    return Distribution("d", "Seconds.", ("model", "error.type"), bounds=(1.0, 2.0))


def readings(*distributions, since=0):
    measured = [Measured(one, "s") for one in distributions]
    return Readings(measured, Resource({"service.name": "s"}), InstrumentationScope("scope", "1"), since)


def told(reading):
    """Return what a collector would read: name -> (temporality, points)."""
    [resource] = encode_metrics(reading).resource_metrics
    [scope] = resource.scope_metrics
    assert values(resource.resource.attributes) == {"service.name": "s"}
    assert (scope.scope.name, scope.scope.version) == ("scope", "1")
    return {
        metric.name: (metric.histogram.aggregation_temporality, list(metric.histogram.data_points))
        for metric in scope.metrics
    }


def test_all_that_was_counted_is_told_each_time():
    seconds, other = distribution(), distribution()
    reading = readings(seconds, other, since=5)
    assert reading.read(6) is None
    for value in (0.5, 1.0, 1.5, 9.0):
        seconds.observe(value, "m", "")
    seconds.observe(1.5, "m", "cancelled")
    for now in (7, 8):
        [(name, (temporality, points))] = told(reading.read(now)).items()
        assert (name, temporality) == ("d", CUMULATIVE)
        good, bad = points
        assert (good.start_time_unix_nano, good.time_unix_nano) == (5, now)
        assert (good.count, good.sum, list(good.bucket_counts)) == (4, 12.0, [2, 1, 1])
        assert list(good.explicit_bounds) == [1.0, 2.0]
        assert not good.HasField("min")
        assert values(good.attributes) == {"model": "m"}
        assert values(bad.attributes) == {"model": "m", "error.type": "cancelled"}


@pytest.mark.parametrize("preference", ["delta", "LowMemory "])
def test_what_is_new_is_told_where_that_is_preferred(monkeypatch, preference):
    monkeypatch.setenv(PREFERENCE, preference)
    seconds = distribution()
    reading = readings(seconds, since=5)
    seconds.observe(0.5, "m", "")
    seconds.observe(0.5, "n", "")
    temporality, points = told(reading.read(10))["d"]
    assert temporality == DELTA
    assert [(point.count, point.start_time_unix_nano) for point in points] == [(1, 5), (1, 5)]
    seconds.observe(3.0, "m", "")
    [point] = told(reading.read(20))["d"][1]
    assert (point.count, point.sum, list(point.bucket_counts)) == (1, 3.0, [0, 0, 1])
    assert (point.start_time_unix_nano, point.time_unix_nano) == (10, 20)
    assert reading.read(30) is None


def test_the_unit_and_the_meaning_are_told():
    seconds = distribution()
    seconds.observe(1.0, "m", "")
    [resource] = encode_metrics(readings(seconds).read(1)).resource_metrics
    [metric] = resource.scope_metrics[0].metrics
    assert (metric.unit, metric.description) == ("s", "Seconds.")
