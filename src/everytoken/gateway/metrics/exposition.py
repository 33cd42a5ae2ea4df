"""What Prometheus reads, written by its own library. Everything here may run in a thread.

Imported with the first scrape: the library takes a while to load.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from everytoken.gateway.metrics.tallies import Count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from everytoken.gateway.metrics.states import State
    from everytoken.gateway.metrics.tallies import Distribution

__all__ = ["render"]


def render(
    accept: str, metered: Sequence[Count | Distribution], states: Sequence[State]
) -> tuple[bytes, str]:
    """Return the text and its media type, in the format that `accept` prefers.

    What is counted meanwhile is in it or not; nothing is lost. The registry is this call's own: what else the process
    registers elsewhere is not ours to show.
    """
    registry = CollectorRegistry()
    registry.register(_Families(metered, states))
    ProcessCollector(registry=registry)
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _Families:
    """A collector of everything that is given."""

    def __init__(self, metered: Sequence[Count | Distribution], states: Sequence[State]) -> None:
        self._metered = metered
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """Return all of it as the library's values."""
        build = GaugeMetricFamily(
            "everytoken_build_info", "The version that runs; always 1.", labels=("version",)
        )
        build.add_metric((version("everytoken"),), 1)
        yield build
        for state in self._states:
            gauge = GaugeMetricFamily(state.name, state.meaning, labels=state.labels)
            for key, value in state.values.items():
                gauge.add_metric(key, value)
            yield gauge
        for one in self._metered:
            if isinstance(one, Count):
                counter = CounterMetricFamily(one.name, one.meaning, labels=one.labels)
                for key, value in list(one.values.items()):  # the loop may add some
                    counter.add_metric(key, value)
                yield counter
            else:
                histogram = HistogramMetricFamily(one.name, one.meaning, labels=one.labels)
                for key in list(one.rows):
                    buckets, total = one.cumulated(key)
                    histogram.add_metric(key, buckets, total)
                yield histogram
