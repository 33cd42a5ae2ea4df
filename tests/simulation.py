"""The recovery machine against scripted upstreams without any I/O: the steps of a script become calls, time is a number.

The delivery laws are checked after every call: what has been delivered is a prefix of the truth, nothing comes after the
end, and there is one end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import Accumulator, ChatRequest, decode_chunk
from everytoken.errors import (
    ConnectError,
    EverytokenError,
    NotAnEventStreamError,
    RemoteProtocolError,
    StatusError,
    TruncatedError,
)
from everytoken.recovery import (
    Breaker,
    Connect,
    Disconnect,
    End,
    LearnedCapabilities,
    Policy,
    Rearm,
    Recovery,
    State,
    Target,
)
from everytoken.testing import (
    Answer,
    CleanEnd,
    Close,
    Head,
    Repeat,
    Reset,
    Send,
    SendRaw,
    Stall,
    Status,
    Wait,
)
from everytoken.testing.faults import find_fault
from everytoken.testing.plan import plan_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from everytoken.testing import FaultRule, Step

USER = [{"role": "user", "content": "Explain."}]
MOST_ATTEMPTS = 12
_MAX_CALLS = 50_000


def request(**fields: Any) -> ChatRequest:
    """Return a streamed request."""
    return ChatRequest({"model": "m", "messages": USER, "stream": True, **fields})


def text_of(records: Iterable[bytes]) -> str:
    """Return the text a client joins from the records."""
    return "".join(
        choice.delta.text
        for record in records
        for choice in decode_chunk(record).choices or ()
        if choice.delta is not None and not choice.index
    )


@dataclass
class Model:
    """A scripted upstream: the steps it takes for a request."""

    answer: Answer = field(default_factory=Answer)
    faults: Sequence[FaultRule] = ()
    name: str = "a"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[Any, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = [(when, find_fault(fault), position) for when, fault, position in self.faults]
        for _, fault, position in self.rules:
            if fault.rewrite is not None:
                self.answer = fault.rewrite(self.answer, position)

    def steps(self, body: dict[str, Any]) -> list[Step] | EverytokenError | None:
        """Return the script for a request; an error where there is no connection, None where it never stands."""
        number = len(self.bodies)
        self.bodies.append(body)
        plan = plan_answer(
            self.answer.variant(self._variant(number, body)), body, number=number, now=time.time()
        )
        if isinstance(plan, Status):
            return [plan]
        for when, fault, position in self.rules:
            if when not in {number, "always"}:
                continue
            if fault.address is not None:
                return None if fault.name == "tls-silent" else ConnectError(fault.description)
            if fault.applies(streamed=plan.streamed):
                return list(fault.build(plan, position))
        return plan.whole()

    def _variant(self, number: int, body: dict[str, Any]) -> int:
        if self.answer.needs_seed:
            return self.seen.setdefault(body.get("seed", ("none", number)), len(self.seen))
        if self.answer.deterministic:
            return 0
        # One that never repeats itself still continues what it is given, also what another model has said.
        last = body["messages"][-1]
        given = last["content"] if last["role"] == "assistant" else None
        if given is None:
            return number
        return next((n for n in range(MOST_ATTEMPTS) if self.answer.variant(n).text.startswith(given)), 0)


class Simulation:
    """One response of some models. `split` cuts the bytes of each step into reads.

    `target` is what their targets have in common, `own` what one of them, by its name, has for itself.
    """

    def __init__(
        self,
        *models: Model,
        policy: Policy = Policy(),  # noqa: B008  # frozen
        ask: ChatRequest | None = None,
        truth: str | None = None,
        experience: dict[str, LearnedCapabilities] | None = None,
        breaker: Breaker | None = None,
        split: Callable[[bytes], Iterable[bytes]] = lambda data: [data],
        on_call: Callable[[Simulation], None] = lambda _: None,
        own: dict[str, dict[str, Any]] | None = None,
        **target: Any,
    ) -> None:
        self.models = {model.name: model for model in models}
        self.now = 1_000.0
        self.records: list[bytes] = []
        self.ends: list[End] = []
        self.connected: list[Connect] = []
        self.open = 0
        self.truth = models[0].answer.text if truth is None else truth
        self.experience = {} if experience is None else experience
        self.breaker = breaker or Breaker()
        self._split = split
        self._on_call = on_call
        self._delivered = ""
        self._calls = 0
        self._pending: Connect | None = None
        self._gone = True
        self.recovery = Recovery(
            request=ask or request(),
            targets=[
                Target(**{"name": model.name, "policy": policy, **target, **(own or {}).get(model.name, {})})
                for model in models
            ],
            seed=7,
            jitter=lambda: 0.5,
            experience=lambda target: self.experience.setdefault(target.name, LearnedCapabilities()),
            breaker=self.breaker,
        )

    @property
    def text(self) -> str:
        return self._delivered

    @property
    def message(self) -> dict[str, Any]:
        joined = Accumulator()
        for record in self.records:
            joined.add(record)
        return joined.message()

    @property
    def outcome(self) -> str | None:
        return self.recovery.outcome

    @property
    def error(self) -> EverytokenError | None:
        return self.recovery.error

    @property
    def strategies(self) -> list[str]:
        return [attempt.strategy for attempt in self.recovery.attempts]

    @property
    def causes(self) -> list[str | None]:
        return [attempt.cause and attempt.cause.code for attempt in self.recovery.attempts]

    def run(self) -> Simulation:
        """Go on until the response has ended."""
        self.call(self.recovery.start)
        while not self.ends:
            if self._pending is not None:
                connect, self._pending = self._pending, None
                self._attempt(connect)
            else:
                assert self.recovery.state is State.BACKING_OFF
                self._let_pass(None)
        self._check_end()
        return self

    def call(self, function: Callable[..., list[bytes] | None], *args: Any) -> None:
        """Call the machine, check the laws, carry its decisions out."""
        self._calls += 1
        assert self._calls < _MAX_CALLS, "the response does not end"
        assert not self.ends, "nothing happens after the end"
        records = function(self.now, *args) or []
        self.records += records
        self._delivered += text_of(records)
        if self.truth:
            assert self.truth.startswith(self._delivered)
        assert self.recovery.records == len(self.records)
        while self.recovery.decisions:
            decision = self.recovery.decisions.pop(0)
            assert not self.ends, "nothing is decided after the end"
            if isinstance(decision, Connect):
                self.connected.append(decision)
                self._pending = decision
                self.open += 1
            elif isinstance(decision, Disconnect):
                self._gone = True
                self.open -= 1
            elif isinstance(decision, End):
                self.ends.append(decision)
            else:
                assert isinstance(decision, Rearm)
        assert self.open in {0, 1}, "one connection at a time"
        self._on_call(self)

    def _attempt(self, connect: Connect) -> None:
        self._gone = False
        steps = self.models[connect.target.name].steps(connect.body)
        if isinstance(steps, EverytokenError):
            self.call(self.recovery.fail, steps)
        elif steps is None:
            self._let_pass(None)
        else:
            self.call(self.recovery.connected)
            _Attempt(self).play(steps)

    def _let_pass(self, seconds: float | None) -> None:
        """Let time go by, until something is decided if `seconds` is None."""
        until = float("inf") if seconds is None else self.now + seconds
        before = len(self.recovery.attempts)
        state = self.recovery.state
        while self.recovery.deadline <= until:
            self.now = self.recovery.deadline
            self.call(self.recovery.tick)
            if self._gone or len(self.recovery.attempts) != before or self.recovery.state is not state:
                return
        assert seconds is not None, "every state has a deadline"
        self.now = until

    def _check_end(self) -> None:
        assert len(self.ends) == 1
        assert self.open == 0
        end = self.ends[0]
        assert (end.error is None) == (end.outcome == "completed")
        if end.outcome == "completed" and self.truth:
            assert self._delivered == self.truth
        if end.outcome == "interrupted":
            assert self.recovery.transcript.chunks


class _Attempt:
    """Plays one script against the machine, by the rules of HTTP."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._recovery = simulation.recovery
        self._head: Head | None = None
        self._body = b""
        self._raw = b""

    def play(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if self._simulation._gone:
                return
            self._do(step)

    def _do(self, step: Step) -> None:
        simulation, recovery = self._simulation, self._recovery
        match step:
            case Head():
                self._head = step
                if step.status < 300:
                    simulation.call(recovery.accept)
            case Send(data):
                if self._head is None:
                    self._do(Head())
                self._send(data)
            case SendRaw(data):
                self._raw += data
            case Wait(seconds):
                simulation._let_pass(seconds)
            case Stall():
                while not simulation._gone:
                    simulation._let_pass(None)
            case Reset() | Close():
                self._close(fin=isinstance(step, Close))
            case CleanEnd():
                self._end()
            case Status(code, retry_after, body):
                if code < 300:
                    self.play([Head(code, step.content_type), Send(body), CleanEnd()])
                    return
                seconds = float(retry_after) if isinstance(retry_after, (int, float)) else None
                error = StatusError("no", upstream_status=code, body=body, retry_after=seconds)
                simulation.call(recovery.fail, error)
            case Repeat(steps):
                while not simulation._gone:
                    self.play(steps)

    def _send(self, data: bytes) -> None:
        assert self._head is not None
        if not self._head.content_type.startswith("text/event-stream"):
            self._body += data
            return
        for read in self._simulation._split(data):
            if self._simulation._gone:
                return
            self._simulation.call(self._recovery.receive_data, read)

    def _close(self, *, fin: bool) -> None:
        simulation, recovery = self._simulation, self._recovery
        if self._head is None:
            simulation.call(recovery.fail, ConnectError("closed"))
        elif self._raw:
            simulation.call(recovery.fail, RemoteProtocolError("not HTTP"))
        elif fin and self._head.framing == "close":
            self._end()
        else:
            simulation.call(recovery.fail, TruncatedError("cut"))

    def _end(self) -> None:
        simulation, recovery = self._simulation, self._recovery
        assert self._head is not None
        if simulation._gone:
            return
        if self._head.content_type.startswith("text/event-stream"):
            simulation.call(recovery.receive_eof)
        elif self._head.content_type.startswith("application/json"):
            simulation.call(recovery.receive_non_streaming, self._body)
        else:
            simulation.call(recovery.fail, NotAnEventStreamError("no stream"))
