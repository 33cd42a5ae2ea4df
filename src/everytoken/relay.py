"""The only driver: upstream -> recovery -> journal, one relay for each response, which outlives its readers.

A relay is a sink of its upstream connection. What it is told it hands to the response's `Recovery`, the records that
come back go to the journal's writer, and the decisions are carried out: all of it plain calls. Time is the loop's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import CancelledError, EverytokenError, ModelNotFoundError, error_body
from everytoken.journal import StreamInfo
from everytoken.recovery import Breaker, Connect, Disconnect, End, Experience, Recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everytoken.chat import ChatRequest
    from everytoken.journal import Journal, Log, Writer
    from everytoken.recovery import Target
    from everytoken.upstream import Connection, Upstream

__all__ = ["Relay", "Relays"]

logger = logging.getLogger("everytoken.relay")

_MAX_EXPERIENCE = 1024
_SEEDS = 2**31  # llama.cpp and several vendors take no larger seed


class Relay:
    """One response being written. `accepted` is done when an upstream has accepted it, or it has ended."""

    def __init__(self, stream_id: str, recovery: Recovery, relays: Relays, writer: Writer) -> None:
        self.stream_id = stream_id
        self.recovery = recovery
        self._relays = relays
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._readers = 0
        self._grace_timer: asyncio.TimerHandle | None = None
        self.grace: float | None = None
        self.accepted: asyncio.Future[None] = self._loop.create_future()

    @property
    def log(self) -> Log:
        """The records written so far."""
        return self._writer.log

    def start(self) -> None:
        """Begin the first attempt."""
        self._tell(self.recovery.start)

    def stop(self) -> None:
        """Stop the response: its upstream connection is closed at once, every reader is told."""
        self.recovery.stop(self._loop.time())
        self._carry_out()

    # Readers

    def reader_came(self) -> None:
        """Count a reader in: while there is one, the response goes on."""
        self._readers += 1
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None

    def reader_went(self) -> None:
        """Count a reader out; without any for the grace period, the response is stopped."""
        self._readers -= 1
        if self._readers == 0 and self.grace is not None and self.recovery.outcome is None:
            if self.grace == 0:
                self.stop()
            else:
                self._grace_timer = self._loop.call_later(self.grace, self._abandon)

    def _abandon(self) -> None:
        if self._readers == 0:
            logger.info("response %s: no reader for %g s, stopped", self.stream_id, self.grace)
            self.stop()

    # What the connection reports (a `Sink`)

    def on_connected(self) -> None:
        """The request is on its way."""
        self.recovery.connected(self._loop.time())
        self._carry_out()

    def on_accepted(self) -> None:
        """The upstream has answered with success."""
        self.recovery.accept(self._loop.time())
        self._carry_out()
        if not self.accepted.done():
            self.accepted.set_result(None)

    def on_data(self, data: bytes) -> None:
        """Take bytes of the stream: the hot path."""
        recovery = self.recovery
        records = recovery.receive_data(self._loop.time(), data)
        if records:
            self._writer.append(records)
        if recovery.decisions:
            self._carry_out()

    def on_whole(self, body: bytes) -> None:
        """Take an answer in one piece."""
        self._tell(self.recovery.receive_whole, body)

    def on_eof(self) -> None:
        """The stream's bytes have ended."""
        self._tell(self.recovery.receive_eof)

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed."""
        if type(error) is EverytokenError:
            self._break_off(error)  # a bug of ours: what it has left behind must not be gone on with
        else:
            self._tell(self.recovery.fail, error)

    # Decisions

    def _tell(self, tell: Callable[..., Sequence[bytes] | None], *args: Any) -> None:
        """Tell the recovery what happened, and do what it decides. A bug ends the response, it does not leave it hanging."""
        try:
            records = tell(self._loop.time(), *args)
            if records:
                self._writer.append(records)
            self._carry_out()
        except Exception:
            logger.exception("response %s: a bug in everytoken", self.stream_id)
            self._break_off(EverytokenError("an internal error broke the response off"))

    def _break_off(self, error: EverytokenError) -> None:
        self.recovery.stop(self._loop.time(), error)
        self._carry_out()

    def _carry_out(self) -> None:
        decisions = self.recovery.decisions
        while decisions:
            decision = decisions.popleft()
            if isinstance(decision, Connect):
                self._log_last_failure()
                upstream = self._relays.upstreams[decision.target.name]
                self._connection = upstream.connect(decision.body, self, streamed=decision.streamed)
            elif isinstance(decision, Disconnect):
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.release(reusable=decision.reusable)
            elif isinstance(decision, End):
                self._end(decision)
        self._arm()

    def _arm(self) -> None:
        """Have one timer for the next deadline. A deadline that moves away leaves it: it looks again when it fires."""
        deadline = self.recovery.deadline
        if deadline == float("inf"):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        assert self._timer is not None
        due, self._timer = self._timer.when(), None
        # The loop may fire a timer a tick of its clock early.
        self._tell(lambda now: self.recovery.tick(max(due, now)))

    def _end(self, decision: End) -> None:
        self._log_end(decision)
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        last = [] if decision.error is None else [msgspec.json.encode(error_body(decision.error))]
        self._writer.close(last, self.result())
        self._relays.ended(self)
        if not self.accepted.done():
            self.accepted.set_result(None)

    def result(self) -> dict[str, Any]:
        """Return what the stream is closed with: the outcome, its error, the usage, and every attempt."""
        recovery = self.recovery
        origin = recovery.attempts[0].started if recovery.attempts else 0.0
        return {
            "outcome": recovery.outcome,
            **({} if recovery.error is None else error_body(recovery.error)),
            "usage": recovery.usage,
            "seed": recovery.seed,
            "attempts": [attempt.describe(origin) for attempt in recovery.attempts],
        }

    def _log_last_failure(self) -> None:
        attempts = self.recovery.attempts
        if len(attempts) > 1 and (cause := attempts[-2].cause) is not None:
            failed, following = attempts[-2:]
            logger.warning(
                "response %s: attempt %d at %s failed: %s (%s); attempt %d: %s at %s from offset %d",
                self.stream_id,
                failed.number,
                failed.upstream,
                cause.message,
                cause.code,
                following.number,
                following.strategy,
                following.upstream,
                following.offset,
                extra={"stream_id": self.stream_id, "attempt": failed.describe(attempts[0].started)},
            )

    def _log_end(self, decision: End) -> None:
        error, recovery = decision.error, self.recovery
        level, told = logging.INFO, f"after {recovery.records} records"
        if error is not None and not isinstance(error, CancelledError):
            level, told = logging.WARNING, f"{told}: {error.message} ({error.code})"
        logger.log(
            level,
            "response %s: %s %s",
            self.stream_id,
            decision.outcome,
            told,
            extra={"stream_id": self.stream_id, "result": self.result()},
        )


class Relays:
    """The responses this process is writing, and what they share."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        targets: Callable[[str], Sequence[Target]],
        journal: Journal,
        *,
        grace: float | None = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`targets` returns the upstreams to ask for a model, in order; `grace` is how long a response lives unread.

        `grace` is in seconds; None means for ever.
        """
        self.upstreams = upstreams
        self._targets = targets
        self.journal = journal
        self._grace = grace
        self._jitter = jitter
        self._breaker = Breaker()
        self._experience: dict[tuple[str, str], Experience] = {}
        self._relays: dict[str, Relay] = {}

    def __len__(self) -> int:
        return len(self._relays)

    async def begin(
        self, request: ChatRequest, *, owner: str = "", grace: float | str | None = "default"
    ) -> Relay:
        """Begin a response. Raises `ModelNotFoundError`, `JournalError`."""
        targets = self._targets(request.model)
        if not targets:
            raise ModelNotFoundError(f"no upstream serves the model {request.model!r}", param="model")
        # A seed of ours makes an answer repeatable, so that a further attempt can go on in it.
        seed = request.seed if request.seed is not None else secrets.randbelow(_SEEDS)
        recovery = Recovery(
            request=request,
            targets=targets,
            seed=seed,
            jitter=self._jitter,
            experience=lambda target: self._experience_of(target, request.model),
            breaker=self._breaker,
            redact=self._redact,
        )
        stream_id = new_stream_id()
        info = StreamInfo(
            id=stream_id,
            content_type="application/json",
            owner=owner,
            created=time.time(),
            meta={"request": request.body, "seed": seed},
        )
        writer = await self.journal.create(info)
        relay = Relay(stream_id, recovery, self, writer)
        relay.grace = self._grace if isinstance(grace, str) else grace
        self._relays[stream_id] = relay
        relay.start()
        return relay

    def get(self, stream_id: str) -> Relay | None:
        """Return the relay that writes this stream here, or None."""
        return self._relays.get(stream_id)

    def ended(self, relay: Relay) -> None:
        """Forget a relay whose response has ended."""
        self._relays.pop(relay.stream_id, None)

    def stop_all(self) -> None:
        """Stop every response."""
        for relay in list(self._relays.values()):
            relay.stop()

    def _redact(self, text: str) -> str:
        for upstream in self.upstreams.values():
            text = upstream.redact(text)
        return text

    def _experience_of(self, target: Target, model: str) -> Experience:
        key = (target.name, target.model or model)
        if key not in self._experience and len(self._experience) >= _MAX_EXPERIENCE:
            self._experience.clear()  # callers choose the model's name: what they can make grow must have a limit
        return self._experience.setdefault(key, Experience())


def new_stream_id() -> str:
    """Return a stream id that cannot be guessed: 128 random bits."""
    return secrets.token_urlsafe(16)
