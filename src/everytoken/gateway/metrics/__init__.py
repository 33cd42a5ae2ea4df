"""`/metrics`: what Prometheus scrapes of a gateway."""

from everytoken.gateway.metrics.metrics import Metrics

__all__ = ["Metrics"]
