"""What is a state rather than a count: it is read when somebody asks, and costs nothing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from everytoken.gateway.metrics.labels import OTHER

if TYPE_CHECKING:
    from everytoken.gateway.config import Config
    from everytoken.gateway.gate import Gate
    from everytoken.gateway.keys import KeyBook
    from everytoken.gateway.metrics.recorder import Recorder
    from everytoken.gateway.metrics.tallies import Key
    from everytoken.gateway.requestlog import RequestLog
    from everytoken.gateway.siblings import Siblings
    from everytoken.journal import Journal
    from everytoken.observer import Observers
    from everytoken.recovery import Breaker
    from everytoken.relay import Relays

__all__ = ["Metrified", "State", "states_of"]


class Metrified(Protocol):
    """A gateway as its metrics see it."""

    config: Config
    keys: KeyBook
    relays: Relays
    breaker: Breaker
    gate: Gate
    request_log: RequestLog
    observers: Observers
    on_loopback: bool
    siblings: Siblings | None

    @property
    def journal(self) -> Journal:
        """Where responses are kept."""


class State(NamedTuple):
    """A value for each set of labels, as it is now."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: dict[Key, float]


def states_of(services: Metrified, recorder: Recorder) -> list[State]:
    """Return the states of a gateway."""
    relays, journal = services.relays, services.journal
    written = map(relays.get, relays.running())
    readers = sum(relay.readers.count for relay in written if relay is not None)
    states = [
        State(
            "everytoken_running_responses", "Responses that are being written here.", (), {(): len(relays)}
        ),
        State(
            "everytoken_readers",
            "Readers of responses that are being written here.",
            (),
            {(): readers},
        ),
        State(
            "everytoken_waiting_requests",
            "Requests that wait for a place to run.",
            (),
            {(): services.gate.waiting},
        ),
        State(
            "everytoken_draining",
            "1 while the server is stopping and takes no more requests.",
            (),
            {(): float(relays.draining)},
        ),
        State(
            "everytoken_breaker_open",
            "1 while an upstream is set aside for a model: it has failed too often, and has not answered since.",
            ("upstream", "model"),
            _breakers(services, recorder),
        ),
    ]
    for name, meaning, attribute in (
        ("everytoken_journal_bytes", "About how many bytes the journal's streams take.", "size"),
        ("everytoken_journal_max_bytes", "How many bytes they may take: max_journal.", "max_bytes"),
        (
            "everytoken_journal_full",
            "1 while open streams take all the room, so that no response can begin.",
            "is_full",
        ),
    ):
        value = getattr(journal, attribute, None)
        if isinstance(value, int | float):
            states.append(State(name, meaning, (), {(): value}))
    commits = getattr(journal, "commits", None)
    if commits is not None:
        states.append(
            State(
                "everytoken_journal_failing",
                "1 while the journal cannot store, so that readers wait.",
                (),
                {(): float(commits.failing)},
            )
        )
    return states


def _breakers(services: Metrified, recorder: Recorder) -> dict[Key, float]:
    """Return a row for each upstream and model that may be asked, or has been: those of the configuration by the upstream's names."""
    rows: dict[Key, float] = {}
    named: dict[str, set[str]] = {}
    for upstream in services.config.upstream:
        named[upstream.name] = set(upstream.names.values())
        for model in upstream.names.values():
            rows[upstream.name, model] = 0
    for name, model in recorder.tried:
        if name in named and not named[name]:
            rows[name, model] = 0
    for name, model in services.breaker.waiting():
        if name in named:
            label = model if model in named[name] else recorder.models.label(model)
            rows[name, label or OTHER] = 1
    return rows
