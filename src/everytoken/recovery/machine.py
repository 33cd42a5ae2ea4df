"""One response over many attempts: a state machine without a clock, a socket or randomness of its own.

The driver calls it with what happened and when; it returns the records to deliver and queues decisions, which are
values. Times are seconds from any steady origin.

    BACKING_OFF --tick--> CONNECTING --connected--> WAITING --content--> STREAMING --finish_reason--> LINGERING --> ENDED

Every state but ENDED has a deadline. A fault in any of them leads to BACKING_OFF (a further attempt) or to ENDED.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.chat import ChatDecoder, chunks_of, decode_chunk
from everytoken.errors import (
    CancelledError,
    ConnectError,
    DivergedError,
    ErrorEventError,
    EventTooLargeError,
    EverytokenError,
    NotAnEventStreamError,
    NotContinuableError,
    RecoveryExhaustedError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.recovery.align import Aligner, Continuing, Proving, Repeating
from everytoken.recovery.plan import Attempt, Plan, Planner
from everytoken.recovery.transcript import Transcript
from everytoken.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.chat import ChatRequest, Chunk
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import Experience, Outcome, Target

__all__ = ["Connect", "Decision", "Disconnect", "End", "Recovery", "State"]

_MAX_HELD = 256  # chunks without content kept back before the first content; more are passed on
_FOREVER = float("inf")


class State(enum.Enum):
    """Where the response stands; the value names the policy's limit that is its deadline."""

    BACKING_OFF = "wait"
    CONNECTING = "connect"
    WAITING = "first_content"
    STREAMING = "content_gap"
    LINGERING = "linger"
    ENDED = ""


_PHASES = {State.CONNECTING: "connect", State.WAITING: "first-content", State.STREAMING: "gap"}


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to `target` and send it `body`; `streamed` says which kind of answer it asks for."""

    target: Target
    body: dict[str, Any]
    streamed: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Let go of the attempt's connection; it may be used again only if `reusable`."""

    reusable: bool


@dataclass(frozen=True, slots=True)
class End:
    """The response has ended. `error` is None exactly when `outcome` is `completed`."""

    outcome: Outcome
    error: EverytokenError | None


Decision = Connect | Disconnect | End


@dataclass(slots=True, weakref_slot=True)
class Recovery:
    """One response. `jitter` returns numbers in [0, 1); `experience` and `breaker` are shared by responses.

    `accepted` turns true when an upstream has answered with success; `outcome` is set once, at the end.
    """

    request: ChatRequest
    targets: Sequence[Target]
    seed: int | None
    jitter: Callable[[], float]
    experience: Callable[[Target], Experience]
    breaker: Breaker
    decisions: deque[Decision] = field(default_factory=deque)
    attempts: list[Attempt] = field(default_factory=list)
    transcript: Transcript = field(default_factory=Transcript)
    state: State = State.BACKING_OFF
    deadline: float = _FOREVER
    accepted: bool = False
    records: int = 0
    outcome: Outcome | None = None
    error: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    _plan: Plan | None = None
    _planner: Planner = field(init=False)
    _sse: SSEDecoder = field(init=False)
    _chat: ChatDecoder = field(init=False)
    _aligner: Aligner | None = None
    _held: list[bytes] = field(default_factory=list)
    _gap: float = 0.0
    _last_bytes: float = 0.0
    _usage_shown: bool = False
    _chunks_before: int = 0

    def __post_init__(self) -> None:
        """Set up what depends on the arguments."""
        self._planner = Planner(
            request=self.request,
            targets=self.targets,
            seed=self.seed,
            breaker=self.breaker,
            experience=self.experience,
            transcript=self.transcript,
            policy=self.targets[0].policy,
        )

    # What the driver reports

    def start(self, now: float) -> None:
        """Begin the first attempt."""
        self._next(now, None)

    def connected(self, now: float) -> None:
        """The request is on its way."""
        if self.state is State.CONNECTING:
            plan = self._planned
            self.state = State.WAITING
            limits = plan.target.policy
            self._last_bytes = now
            self.deadline = now + self._time(limits.first_content if plan.streamed else limits.non_streaming)

    def accept(self, now: float) -> None:
        """The upstream has answered with success; its body follows."""
        self.connected(now)
        self.accepted = True
        plan = self._planned
        experience = self.experience(plan.target)
        if self._planner.bare:
            experience.additions = "refused"
        elif plan.added:
            experience.additions = "accepted"

    def receive_data(self, now: float, data: bytes) -> list[bytes]:
        """Take bytes of a streamed answer; return the records to deliver, in order."""
        if self.state is State.ENDED or self.state is State.BACKING_OFF:
            return []
        self._last_bytes = now
        records: list[bytes] = []
        error: EverytokenError | None = None
        try:
            events: Sequence[ServerSentEvent] = self._sse.receive_data(data)
        except EventTooLargeError as too_large:
            events, error = too_large.events, too_large
        error = self._receive_events(now, events, records) or error
        if records:
            self._delivered(records)
        if error is not None:
            self._fail(now, error)
        elif self._chat.done:
            self._receive_end(now, records)
        return records

    def receive_eof(self, now: float) -> list[bytes]:
        """The streamed answer's bytes have ended, by the transport's own rules properly."""
        if self.state is State.ENDED or self.state is State.BACKING_OFF:
            return []
        records: list[bytes] = []
        self._receive_end(now, records)
        return records

    def receive_whole(self, now: float, body: bytes) -> list[bytes]:
        """Take an answer that came in one piece: a chat completion asked for so, or sent instead of a stream."""
        if self.state is State.ENDED or self.state is State.BACKING_OFF:
            return []
        records: list[bytes] = []
        error: EverytokenError | None = None
        try:
            chunks = _read_whole(body)
        except EverytokenError as unreadable:
            error = unreadable
        else:
            events = [ServerSentEvent("message", chunk.decode(), "", None) for chunk in chunks]
            error = self._receive_events(now, events, records)
            self._chat.terminal = True  # a JSON document that is complete is an end
        if records:
            self._delivered(records)
        if error is not None:
            self._fail(now, error)
        else:
            self._receive_end(now, records)
        return records

    def fail(self, now: float, error: EverytokenError) -> list[bytes]:
        """The attempt has failed: no connection, a status, a break."""
        records: list[bytes] = []
        if self.state is not State.ENDED and self.state is not State.BACKING_OFF:
            self._fail(now, error, records)
        return records

    def tick(self, now: float) -> list[bytes]:
        """Act on a deadline that has passed; does nothing before it."""
        records: list[bytes] = []
        if now < self.deadline:
            return records
        if self.state is State.BACKING_OFF:
            self._connect(now)
        elif self.state is State.LINGERING:
            self._complete(now, records)
        elif self.state in _PHASES:
            phase = _PHASES[self.state]
            silent = now - self._last_bytes
            detail = "" if phase == "connect" else f" (last byte {silent:.1f} s ago)"
            self._fail(
                now, StalledError(f"no {_MISSING[phase]} within the limit{detail}", phase=phase), records
            )
        return records

    def stop(self, now: float) -> None:
        """Somebody entitled to has stopped the response."""
        if self.state is not State.ENDED:
            self._end(now, "cancelled", CancelledError("the response was stopped"))

    # What happens to events

    def _receive_events(
        self, now: float, events: Sequence[ServerSentEvent], records: list[bytes]
    ) -> EverytokenError | None:
        chat = self._chat
        content = False
        try:
            for event in events:
                chunk = chat.receive_event(event)
                if chunk is None:
                    if chat.done:
                        break
                    continue
                choices = chunk.choices
                if not choices:
                    self._receive_usage(chunk, event.data, records)
                    continue
                if (
                    self._aligner is not None
                    or (len(choices) > 1 and not chunk.presentable)
                    or choices[0].delta is None
                ):
                    content = self._receive_slowly(chunk, event.data, records) or content
                elif self.transcript.add(choices):
                    content = True
                    if self._held:
                        self._release(records)
                    records.append(event.data.encode())
                elif self.state is State.WAITING and not chat.terminal and len(self._held) < _MAX_HELD:
                    # Without content there is nothing to continue yet: a retry starts from a clean slate.
                    self._held.append(event.data.encode())
                else:
                    self._release(records)
                    records.append(event.data.encode())
        except EverytokenError as error:
            return None if chat.terminal and self._is_through() else error
        finally:
            if content:
                self.deadline = now + self._gap
                if self.state is not State.STREAMING:
                    self._begin_streaming(now)
            if chat.terminal and self.state is not State.LINGERING:
                self.state = State.LINGERING
                self.deadline = now + self._planned.target.policy.linger
        return None

    def _receive_slowly(self, chunk: Chunk, raw: str, records: list[bytes]) -> bool:
        """Take a chunk of a continued response, or one that cannot be passed on as it is; return if it has content."""
        choices = chunk.choices or []
        if not chunk.presentable:
            if not any(choice.finish_reason for choice in choices):
                return False
            raw = _with_deltas(raw)
        if self._aligner is None:
            found = self.transcript.add([choice for choice in choices if choice.delta is not None])
            self._release(records)
            records.append(raw.encode())
            return found
        new = self._aligner.feed(chunk, raw)
        for record in new:
            added = decode_chunk(record)
            self.transcript.add(added.choices or [])
        records.extend(new)
        return chunk.has_content

    def _receive_usage(self, chunk: Chunk, raw: str, records: list[bytes]) -> None:
        """Take a chunk without choices: shown only to those who asked for usage, once, and after the content."""
        if not self.request.include_usage:
            return
        if len(self.attempts) > 1:
            return  # one usage chunk for the whole response is made at its end
        if chunk.usage is not None:
            self._usage_shown = True
        if self.state is State.WAITING and not self._chat.terminal:
            self._held.append(raw.encode())
        else:
            records.append(raw.encode())

    def _delivered(self, records: list[bytes]) -> None:
        if not self.records:
            self.transcript.first = records[0]
        self.records += len(records)

    def _release(self, records: list[bytes]) -> None:
        records.extend(self._held)
        self._held.clear()

    def _begin_streaming(self, now: float) -> None:
        self.state = State.STREAMING
        self.deadline = now + self._gap
        plan = self._planned
        self.breaker.succeeded(plan.target.name)

    def _added(self) -> int:
        """Return how many records with content the attempt has added so far."""
        return self.transcript.chunks - self._chunks_before

    def _is_through(self) -> bool:
        return self._aligner is None or self._aligner.through

    # How an attempt ends

    def _receive_end(self, now: float, records: list[bytes]) -> None:
        """The bytes of the attempt have ended, or its [DONE] has come."""
        try:
            self._chat.receive_eof()
        except TruncatedError as error:
            if self._proves_the_end():
                self._complete(now, records)
                return
            self.attempts[-1].only_done = self._chat.done
            self._fail(now, error, records)
            return
        if not self._is_through():
            self._fail(now, DivergedError("the repeated answer is shorter than what was delivered"), records)
            return
        self._complete(now, records)

    def _proves_the_end(self) -> bool:
        """Whether a lone [DONE] may be believed: the upstream, asked to go on from there, added nothing, twice."""
        attempt = self.attempts[-1]
        return (
            self._chat.done
            and attempt.strategy == "prefill"
            and self._added() == 0
            and self._is_through()
            and not (isinstance(self._aligner, Proving) and self._aligner.verdict != "continues")
            and any(earlier.only_done for earlier in self.attempts[:-1])
        )

    def _fail(self, now: float, error: EverytokenError, records: list[bytes] | None = None) -> None:
        if self._chat_is_complete():
            # The answer was whole before this happened.
            more: list[bytes] = [] if records is None else records
            self._complete(now, more)
            return
        plan, attempt, planner = self._planned, self.attempts[-1], self._planner
        attempt.cause, attempt.ended, attempt.usage = error, now, self._chat.usage
        attempt.chunks = self._added()
        self.decisions.append(Disconnect(reusable=False))
        self._held.clear()
        name, experience = plan.target.name, self.experience(plan.target)
        refused = isinstance(error, StatusError) and error.upstream_status in {400, 422}
        if refused and plan.strategy == "prefill":
            experience.prefill = "refused"
            planner.spent.add((name, "prefill"))
        elif refused and plan.added and experience.additions == "unknown" and not planner.bare:
            # Perhaps it was our seed or stream_options that it did not like: once more without.
            planner.bare = True
        elif isinstance(error, DivergedError) or (
            attempt.only_done and plan.strategy == "replay" and attempt.chunks == 0
        ):
            planner.spent.add((name, plan.strategy))
        elif isinstance(error, StatusError) and not self._may_retry(error, plan):
            if not self.transcript.chunks:
                self._end(now, "failed", error)
                return
            planner.unusable.add(name)
        else:
            planner.faults += 1
            if not isinstance(error, StatusError) or error.upstream_status >= 500:
                self.breaker.failed(name, now)
        self._next(now, error)

    @staticmethod
    def _may_retry(error: StatusError, plan: Plan) -> bool:
        status = error.upstream_status
        return status in plan.target.policy.retry_statuses

    def _chat_is_complete(self) -> bool:
        return self.state is State.LINGERING and self._chat.terminal and self._is_through()

    def _next(self, now: float, error: EverytokenError | None) -> None:
        """Plan the next attempt, or end the response with what went wrong."""
        if error is not None and self.transcript.chunks:
            reason = self._not_continuable()
            if reason is not None:
                self._end(now, "interrupted", NotContinuableError(f"{error.message}; {reason}"), cause=error)
                return
        plan = self._planner.next(now, self.attempts, self.jitter())
        if plan is None:
            self._give_up(now, error)
            return
        self._plan = plan
        if plan.wait:
            self.state = State.BACKING_OFF
            self.deadline = now + plan.wait
        else:
            self._connect(now)

    def _not_continuable(self) -> str | None:
        """Return why what has been delivered cannot be continued faithfully, or None."""
        if self.request.choices > 1 or self.transcript.several:
            return "several choices cannot be continued faithfully"
        if self.request.body.get("logprobs"):
            return "logprobs cannot be continued faithfully"
        return None

    def _give_up(self, now: float, error: EverytokenError | None) -> None:
        causes = [attempt.cause for attempt in self.attempts if attempt.cause is not None]
        outcome: Outcome = "interrupted" if self.transcript.chunks else "failed"
        last = causes[-1] if causes else None
        if last is None:
            self._end(now, "failed", error or ConnectError("there is no upstream to ask"))
        elif len(causes) == 1 or all(isinstance(c, StatusError) and c.status < 500 for c in causes):
            self._end(now, outcome, last)
        else:
            message = (
                f"{len(causes)} attempts failed; the first: {causes[0].message}; the last: {last.message}"
            )
            self._end(now, outcome, RecoveryExhaustedError(message, attempts=causes), cause=causes[0])

    def _connect(self, now: float) -> None:
        plan = self._planned
        target = plan.target
        self._sse = SSEDecoder()
        self._chat = ChatDecoder(choices=self.request.choices, reasonless=target.reasonless)
        self._aligner = self._aligner_for(plan)
        self._gap = self._time(target.policy.content_gap)
        self.state = State.CONNECTING
        self.deadline = now + self._time(target.policy.connect)
        self.breaker.claim(target.name, now)
        self._chunks_before = self.transcript.chunks
        number = len(self.attempts) + 1
        self.attempts.append(Attempt(number, target.name, plan.strategy, plan.streamed, self.records, now))
        self.decisions.append(Connect(target, plan.body, plan.streamed))

    def _aligner_for(self, plan: Plan) -> Aligner | None:
        if plan.strategy == "replay":
            return Repeating(self.transcript)
        if plan.strategy == "prefill":
            if plan.overlap is None:
                return Continuing(self.transcript)
            return Proving(self.transcript, overlap=plan.overlap)
        return None

    def _complete(self, now: float, records: list[bytes]) -> None:
        before = len(records)
        self._release(records)
        attempt = self.attempts[-1]
        self.usage = attempt.usage = self._chat.usage
        attempt.chunks = self._added()
        if isinstance(self._aligner, Proving) and self._aligner.verdict is not None:
            self.experience(self._planned.target).prefill = (
                "continues" if self._aligner.verdict == "continues" else "restarts"
            )
        if self.request.include_usage and not self._usage_shown:
            records.append(self._usage_chunk())
        if len(records) > before:
            self._delivered(records[before:])
        self._end(now, "completed", None)

    def _usage_chunk(self) -> bytes:
        """Make the usage chunk of a response whose upstream gave none, or that took several attempts."""
        origin = self.attempts[0].started
        usage = self.usage or {
            "prompt_tokens": 0,
            "completion_tokens": self.transcript.chunks,
            "total_tokens": self.transcript.chunks,
            "estimated": True,
        }
        chunk: dict[str, Any] = {
            "id": "",
            "created": 0,
            "model": self.request.model,
            **self.transcript.identity,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": usage,
        }
        if len(self.attempts) > 1:
            chunk["everytoken"] = {"attempts": [attempt.describe(origin) for attempt in self.attempts]}
        return msgspec.json.encode(chunk)

    def _end(
        self,
        now: float,
        outcome: Outcome,
        error: EverytokenError | None,
        *,
        cause: EverytokenError | None = None,
    ) -> None:
        if error is not None and cause is not None:
            error.__cause__ = cause
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = now
            self.decisions.append(Disconnect(reusable=outcome == "completed"))
        self.state, self.deadline = State.ENDED, _FOREVER
        self.outcome, self.error = outcome, error
        self._held.clear()
        self.decisions.append(End(outcome, error))

    def _time(self, limit: float) -> float:
        return limit * 2 if self._planner.last and self._planner.faults else limit

    @property
    def _planned(self) -> Plan:
        assert self._plan is not None, "nothing happens before start()"
        return self._plan


_MISSING = {"connect": "connection", "first-content": "content", "gap": "further content"}


def _read_whole(body: bytes) -> list[bytes]:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise NotAnEventStreamError("the upstream answered with neither a stream nor JSON") from error
    if not isinstance(value, dict):
        raise NotAnEventStreamError("the upstream answered with JSON that is no chat completion")
    if value.get("error") is not None or value.get("object") == "error":
        error_object = value.get("error") or value
        message = error_object.get("message") if isinstance(error_object, dict) else error_object
        raise ErrorEventError(str(message or "the upstream reported an error"), error=error_object)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not all(_has_message(choice) for choice in choices):
        raise NotAnEventStreamError("the upstream answered with JSON that is no chat completion")
    return chunks_of(value)


def _has_message(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def _with_deltas(raw: str) -> str:
    """Return the chunk with an empty delta wherever it has none, so that a reader may look into it."""
    value = msgspec.json.decode(raw)
    for choice in value["choices"]:
        if choice.get("delta") is None:
            choice["delta"] = {}
    return msgspec.json.encode(value).decode()
