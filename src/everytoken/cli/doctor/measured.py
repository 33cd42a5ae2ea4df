"""What has been measured: values that the checks read. Times are in seconds, moments in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TOO_LATE", "Arrival", "Large", "Measured", "Stream", "Tls"]

TOO_LATE = frozenset({408, 504})
"""Statuses of a hop that has waited for long enough."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event of a probe: when the gateway sent it, when it arrived here, and its `id:`, "" without one."""

    number: int
    sent: float
    arrived: float
    id: str


@dataclass(slots=True)
class Stream:
    """One probe as it came.

    `seen` is what the first event tells of how the request has arrived. `complete`: the last event has come. `clean`: the
    body has ended as HTTP ends one. `problem`: what broke it otherwise. `ended`: when it was over.
    """

    method: str = "GET"
    hints: bool = True
    idle: float = 0.0
    interval: float = 0.0
    status: int = 0
    http_version: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    seen: dict[str, Any] = field(default_factory=dict)
    events: list[Arrival] = field(default_factory=list)
    complete: bool = False
    clean: bool = False
    problem: str = ""
    ended: float = 0.0

    @property
    def encoding(self) -> str:
        """How the body was compressed, "" if it was not."""
        value = self.headers.get("content-encoding", "").strip().lower()
        return "" if value == "identity" else value

    @property
    def from_gateway(self) -> bool:
        """Whether it is the gateway that answered: its refusals are JSON with a code."""
        return bool(self.seen) or '"code":' in self.body


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS handshake: why the certificate is not trusted (`code` is OpenSSL's), or until when it is valid."""

    code: int = 0
    message: str = ""
    names: tuple[str, ...] = ()
    valid_until: float | None = None


@dataclass(frozen=True, slots=True)
class Large:
    """A large request: how many bytes were sent, what was answered, and how many bytes the gateway got."""

    size: int
    status: int
    received: int = 0
    problem: str = ""


@dataclass(slots=True)
class Measured:
    """Everything; what was not measured is empty."""

    url: str
    now: float
    model: str = ""
    has_key: bool = False
    own_host: str = ""
    request_id: str = ""
    products: tuple[str, ...] = ()
    direct: bool = False
    tls: Tls | None = None
    greeting: Stream | None = None
    paced: list[Stream] = field(default_factory=list)
    bare: Stream | None = None
    silent: Stream | None = None
    left: str = ""
    large: Large | None = None
    models: list[str] | None = None
    models_problem: str = ""
    models_status: int = 0
    health: dict[str, Any] | None = None
    upstreams: list[dict[str, Any]] = field(default_factory=list)

    @property
    def streams(self) -> list[Stream]:
        """All probes that have an event stream."""
        found = [self.greeting, *self.paced, self.bare, self.silent]
        return [stream for stream in found if stream is not None and stream.seen]

    @property
    def delay(self) -> float:
        """How long the quickest event took, in the clocks of both ends."""
        lags = [event.arrived - event.sent for stream in self.streams for event in stream.events]
        return min(lags, default=0.0)

    def was_late(self, status: int) -> bool:
        """Whether a status comes from the short time-out of a hop that also cuts silent streams."""
        return status in TOO_LATE and self.silent is not None and not self.silent.complete

    @property
    def keep_alive(self) -> float:
        """How long the gateway is silent at most."""
        return next((float(stream.seen.get("keep_alive", 15)) for stream in self.streams), 15.0)
