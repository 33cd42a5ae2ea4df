"""What Prometheus reads, written by its own library. Everything here may run in a thread.

Imported with the first scrape: the library takes a while to load.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from everytoken.gateway.metrics.tallies import Count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from everytoken.gateway.metrics.states import State
    from everytoken.gateway.metrics.tallies import Distribution

__all__ = ["Families", "families_of", "render"]

Families = list[list[Any]]
"""Metrics as they are sent from one process to another: name, meaning, type, samples (name, labels, value)."""

_WORKER = "worker"


def families_of(metered: Sequence[Count | Distribution], states: Sequence[State]) -> Families:
    """Return everything that is given, and what the process takes.

    What is counted meanwhile is in it or not; nothing is lost.
    """
    metrics = [*_collected(metered, states), *ProcessCollector(registry=None).collect()]
    return [
        [one.name, one.documentation, one.type, [[of.name, of.labels, of.value] for of in one.samples]]
        for one in metrics
    ]


def render(
    accept: str, families: Families, of_workers: Mapping[int, Families] | None = None
) -> tuple[bytes, str]:
    """Return the text and its media type, in the format that `accept` prefers.

    `of_workers`: the metrics of each of several processes, which get its number as a label. The registry is this call's
    own: what else the process registers elsewhere is not ours to show.
    """
    registry = CollectorRegistry()
    labelled: list[tuple[dict[str, str], Families]] = [({}, families)]
    if of_workers is not None:
        labelled = [({_WORKER: str(number)}, some) for number, some in sorted(of_workers.items())]
    registry.register(_Given(_joined(labelled)))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _Given:
    """A collector of what is there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """Return all of it."""
        yield from self._metrics


def _joined(labelled: Sequence[tuple[dict[str, str], Families]]) -> Iterable[Metric]:
    """Return the metrics of several processes as one of each name."""
    joined: dict[str, Metric] = {}
    for more, families in labelled:
        for name, meaning, kind, samples in families:
            metric = joined.setdefault(name, Metric(name, meaning, kind))
            for sample, labels, value in samples:
                metric.add_sample(sample, {**more, **labels}, value)
    return joined.values()


def _collected(metered: Sequence[Count | Distribution], states: Sequence[State]) -> Iterator[Metric]:
    """Return all that is counted, measured or looked at as the library's values."""
    build = GaugeMetricFamily(
        "everytoken_build_info", "The version that runs; always 1.", labels=("version",)
    )
    build.add_metric((version("everytoken"),), 1)
    yield build
    for state in states:
        gauge = GaugeMetricFamily(state.name, state.meaning, labels=state.labels)
        for key, value in state.values.items():
            gauge.add_metric(key, value)
        yield gauge
    for one in metered:
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
