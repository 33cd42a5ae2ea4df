"""The table of transitions is what happens: no more, no less."""

from __future__ import annotations

import itertools

import pytest

from everytoken.errors import NodeLostError, StatusError
from everytoken.recovery import Connect, Disconnect, End, Policy, State
from everytoken.recovery.transitions import TRANSITIONS, Event
from everytoken.testing import Answer
from simulation import Model, Simulation, request

TEXT = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
FINISH = (
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
WHOLE = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no"}}\n\n'
REFUSED = StatusError("no", upstream_status=400, body=b"{}", retry_after=None)
BUSY = StatusError("no", upstream_status=503, body=b"{}", retry_after=None)

# Everything a driver may report, in every order.
REPORTS = {
    "connected": lambda recovery, now: recovery.connected(now),
    "accept": lambda recovery, now: recovery.accept(now),
    "text": lambda recovery, now: recovery.receive_data(now, TEXT),
    "finish": lambda recovery, now: recovery.receive_data(now, FINISH),
    "done": lambda recovery, now: recovery.receive_data(now, DONE),
    "error": lambda recovery, now: recovery.receive_data(now, ERROR),
    "eof": lambda recovery, now: recovery.receive_eof(now),
    "finish and done": lambda recovery, now: recovery.receive_data(now, FINISH + DONE),
    "non-streaming": lambda recovery, now: recovery.receive_non_streaming(now, WHOLE),
    "no answer": lambda recovery, now: recovery.receive_non_streaming(now, b"{}"),
    "refused": lambda recovery, now: recovery.fail(now, REFUSED),
    "busy": lambda recovery, now: recovery.fail(now, BUSY),
    "tick": lambda recovery, now: recovery.tick(recovery.deadline),
    "stop": lambda recovery, now: recovery.stop(now),
}
NAMES = {Connect: "Connect", Disconnect: "Disconnect", End: "End"}


@pytest.fixture
def seen(monkeypatch):
    """The table, which takes note of what is looked up in it."""
    found = set()

    class Noted(dict):
        def __getitem__(self, key):
            found.add(key)
            return super().__getitem__(key)

    noted = Noted(TRANSITIONS)
    for module in ("course", "waiting"):
        monkeypatch.setattr(f"everytoken.recovery.{module}.TRANSITIONS", noted)
    return found


def test_every_entry_happens_and_nothing_else_does(seen):
    for backoff, reports in itertools.product((0.0, 1.0), itertools.product(REPORTS, repeat=3)):
        recovery = Simulation(Model(), policy=Policy(backoff=backoff, attempts=2)).recovery
        recovery.start(0.0)
        for name in ("connected", *reports):
            REPORTS[name](recovery, 1.0)
    recovery = Simulation(Model(), ask=request()).recovery
    recovery.resume(0.0, [TEXT[6:-2], FINISH[6:-2]], NodeLostError("gone"))
    recovery = Simulation(Model(), ask=request(n=2)).recovery
    recovery.resume(0.0, [TEXT[6:-2]], NodeLostError("gone"))
    assert set(TRANSITIONS) - seen == set()


def test_an_end_is_the_end_and_every_other_state_has_a_way_out():
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.ENDED}
    assert {event for _, event in TRANSITIONS} == set(Event)
    ends = {state for (state, _), (after, _) in TRANSITIONS.items() if after is State.ENDED}
    assert ends == set(State) - {State.ENDED}


@pytest.mark.parametrize("backoff", [0.0, 1.0])
def test_the_decisions_are_those_of_the_table(backoff):
    """One report, one transition: the driver is handed exactly what the table says."""
    for before, report in itertools.product(([], ["connected"], ["connected", "text"]), REPORTS):
        recovery = Simulation(Model(Answer()), policy=Policy(backoff=backoff, attempts=3)).recovery
        recovery.start(0.0)
        for name in before:
            REPORTS[name](recovery, 0.0)
        recovery.decisions.clear()
        state = recovery.state
        REPORTS[report](recovery, 0.0)
        made = tuple(NAMES[type(decision)] for decision in recovery.decisions if type(decision) in NAMES)
        allowed = {decisions for (start, _), (_, decisions) in TRANSITIONS.items() if start is state}
        assert made in {*allowed, ()}, (before, report)
