"""An observer that counts. It is told of responses and attempts, never of chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.gateway.metrics.labels import ModelLabels, code_label
from everytoken.gateway.metrics.names import Metered
from everytoken.gateway.metrics.usage import operation_of, per_chunk, provider_of, tokens_of
from everytoken.observer import (
    AttemptBegun,
    AttemptEnded,
    CircuitOpened,
    Event,
    FirstContent,
    PassedOn,
    ReaderCame,
    ReaderResumed,
    Refused,
    ResponseBegun,
    ResponseEnded,
    ResponseHandedOver,
    Seam,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

__all__ = ["Recorder"]

_OUTCOMES: Final = ("completed", "interrupted", "cancelled", "failed")
_HOW: Final = ("seam", "retry")


class _Running:
    """What is remembered of a response until its end."""

    __slots__ = ("begun", "failed", "seam", "upstreams")

    def __init__(self, begun: ResponseBegun) -> None:
        self.begun = begun
        self.failed = begun.offset is not None
        self.seam = False
        self.upstreams: dict[int, str] = {}  # by the number of the attempt


class Recorder:
    """Counts what it is told. Upstreams' names come from the configuration, codes from the table, models from `models`."""

    wants_commits = (
        False  # with few responses there is one for nearly every chunk: `commits` counts them for less
    )

    def __init__(
        self, models: ModelLabels, cost: Callable[[Sequence[Mapping[str, Any]], str], float | None]
    ) -> None:
        """`cost`: what the attempts of a response of a dialect have cost, in US dollars; None if that is not known."""
        self.models = models
        self._cost = cost
        self.metered = Metered()
        # Upstreams, and the labels of the models that they were asked for.
        self.tried: set[tuple[str, str]] = set()
        self._running: dict[str, _Running] = {}
        self.handlers: dict[type[Event], Callable[[Any], None]] = {
            ResponseBegun: self._begun,
            AttemptBegun: self._attempt_begun,
            FirstContent: self._first_content,
            Seam: self._seam,
            AttemptEnded: self._attempt_ended,
            ResponseEnded: self._ended,
            ResponseHandedOver: self._handed_over,
            ReaderCame: lambda _: self.metered.connections.add(),
            ReaderResumed: lambda _: self.metered.resumes.add(),
            CircuitOpened: lambda event: self.metered.circuits.add(event.upstream),
            Refused: lambda event: self.metered.refusals.add(code_label(event.code)),
            PassedOn: lambda event: self.metered.passed.observe(
                event.seconds, event.upstream, event.api, event.outcome
            ),
        }

    def __call__(self, event: Event) -> None:
        """Count an event."""
        handle = self.handlers.get(type(event))
        if handle is not None:
            handle(event)

    def _begun(self, event: ResponseBegun) -> None:
        self._running[event.response] = _Running(event)
        if event.offset is not None:
            self.metered.takeovers.add()
        self._show(event.dialect, self.models.label(event.model))

    def _show(self, dialect: str, model: str) -> None:
        """Have the counts of a model be there from its first response on: Prometheus sees no increase from nothing to 1."""
        metered = self.metered
        responses = metered.responses
        if (dialect, model, _OUTCOMES[0]) not in responses.values:
            for outcome in _OUTCOMES:
                responses.begin(dialect, model, outcome)
            for how in _HOW:
                metered.recovered.begin(model, how)
            metered.cost.begin(model)
            metered.unpriced.begin(model)

    def _attempt_begun(self, event: AttemptBegun) -> None:
        running = self._running.get(event.response)
        if running is not None:
            running.upstreams[event.attempt] = event.upstream

    def _first_content(self, event: FirstContent) -> None:
        running = self._running.get(event.response)
        upstream = None if running is None else running.upstreams.get(event.attempt)
        if upstream is not None:
            self.metered.attempt_to_first.observe(event.seconds, upstream)

    def _seam(self, event: Seam) -> None:
        self.metered.gaps.observe(event.seconds, event.upstream, event.strategy)
        running = self._running.get(event.response)
        if running is not None:
            running.seam = True

    def _attempt_ended(self, event: AttemptEnded) -> None:
        self.metered.attempts.add(event.upstream, event.strategy, code_label(event.cause))
        running = self._running.get(event.response)
        if running is None:
            return
        if event.cause is not None:
            running.failed = True
        self.tried.add((event.upstream, self.models.label(running.begun.model)))

    def _handed_over(self, event: ResponseHandedOver) -> None:
        self._running.pop(event.response, None)
        self.metered.handovers.add()

    def _ended(self, event: ResponseEnded) -> None:
        running = self._running.pop(event.response, None)
        if running is None:
            return  # it began before anybody counted
        begun, metered = running.begun, self.metered
        completed = event.outcome == _OUTCOMES[0]
        model = (self.models.completed if completed else self.models.label)(begun.model)
        self._show(begun.dialect, model)
        metered.responses.add(begun.dialect, model, event.outcome)
        if event.error is not None:
            metered.errors.add(event.outcome, code_label(event.error))
        if completed and (running.failed or running.seam):
            metered.recovered.add(model, _HOW[0] if running.seam else _HOW[1])
        gen_ai = (operation_of(begun.dialect), provider_of(begun.dialect), model)
        error = "" if event.error is None else code_label(event.error)
        metered.duration.observe(event.seconds, *gen_ai, error)
        if begun.streamed and event.first_content is not None:
            metered.to_first.observe(event.first_content, *gen_ai)
        mean = per_chunk(begun, event)
        if mean is not None:
            metered.per_chunk.observe(mean, *gen_ai)
        if event.usage:
            cost = self._cost(event.told, begun.dialect)
            if cost is None:
                metered.unpriced.add(model)
            else:
                metered.cost.add(model, by=cost)
        for kind, count in tokens_of(begun.dialect, event.usage):
            metered.tokens.add(model, kind, by=count)
            if kind in {"input", "output"}:
                metered.token_usage.observe(count, *gen_ai, kind)

    def commits(self, journal: str) -> Callable[[Sequence[float], int], None]:
        """Return what counts the commits of a journal; `GroupCommit.count` takes it."""

        def count(times: Sequence[float], size: int) -> None:
            self.metered.commit_seconds.observe_all(times, journal)
            self.metered.commit_bytes.add(journal, by=size)

        return count
