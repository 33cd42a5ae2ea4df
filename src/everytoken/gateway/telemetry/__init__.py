"""OpenTelemetry: metrics and spans, exported by OTLP. Without `otel = true` nothing of it is imported."""

from everytoken.gateway.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]
