"""What a scrape of `/metrics` has in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from gateway_serving import Served


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {sample.name for sample in self.samples}

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, name: str, label: str) -> set[str]:
        """Return the values that a label has."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def scrape(gateway: Served, **headers: str) -> Scrape:
    """Read the metrics of a gateway."""
    answer: Any = await gateway.ask("GET", "/metrics", headers=headers)
    assert answer.status == 200, answer.body
    return Scrape(answer.body.decode())
