"""When a gateway exports by OpenTelemetry: from its start to its stop, if that is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from everytoken.errors import ConfigurationError
from everytoken.gateway.metrics.labels import ModelLabels

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.gateway.config import Config
    from everytoken.gateway.telemetry.exporting import Exporting
    from everytoken.observer import Observers
    from everytoken.relay import Relays

__all__ = ["Telemetry"]

logger = logging.getLogger("everytoken.gateway")

_NEEDED: Final = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_PATIENCE: Final = 3.0  # seconds that a stop waits for what is still to be exported


class Exported(Protocol):
    """A gateway as its telemetry sees it."""

    config: Config
    relays: Relays
    observers: Observers


class Telemetry:
    """Exports what observers are told. The SDK's own threads do the exporting, so a collector that is down holds nothing up."""

    def __init__(self, services: Exported) -> None:
        self._services = services
        self._exporting: Exporting | None = None

    async def start(self) -> None:
        """Begin, if the configuration says so. Raises `ConfigurationError`."""
        if not self._services.config.otel or self._exporting is not None:
            return
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            logger.warning("otel = true, but OTEL_SDK_DISABLED is true: nothing is exported")
            return
        if not await asyncio.to_thread(lambda: all(map(_is_there, _NEEDED))):
            raise ConfigurationError("otel = true needs packages: pip install 'everytoken[otel]'")
        # Loading the SDK reads many files.
        self._exporting = await asyncio.to_thread(self._make)
        self.configure(self._services.config)
        self._services.observers.add(self._exporting.observe)
        self._services.observers.attempt_headers = self._exporting.headers

    def _make(self) -> Exporting:
        services = self._services
        make: Callable[..., Exporting] = import_module("everytoken.gateway.telemetry.exporting").Exporting
        try:
            return make(
                ModelLabels(services.relays.redact),
                redact=services.relays.redact,
                pass_up=lambda: services.config.pass_up,
            )
        except Exception as error:
            raise ConfigurationError(
                f"otel: the SDK does not start: {type(error).__name__}: {error}"
            ) from error

    def configure(self, config: Config) -> None:
        """Let the models of a configuration count as themselves."""
        if self._exporting is not None:
            self._exporting.models.configure(name for upstream in config.upstream for name in upstream.names)

    async def stop(self) -> None:
        """Export what there still is, for as long as a stop may take."""
        exporting, self._exporting = self._exporting, None
        if exporting is None:
            return
        loop = asyncio.get_running_loop()
        flushed = asyncio.Event()

        def flush() -> None:
            try:
                exporting.stop()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has not waited
                    loop.call_soon_threadsafe(flushed.set)

        # Not one of the loop's own threads, which the process would wait for.
        threading.Thread(target=flush, name="everytoken-otel-flush", daemon=True).start()
        try:
            async with asyncio.timeout(_PATIENCE):
                await flushed.wait()
        except TimeoutError:
            exporting.give_up()
            logger.warning("otel: what was not exported within %.0f s is lost", _PATIENCE)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing; it was made to seem so
        return False
