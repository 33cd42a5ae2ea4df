"""A response that goes on behind a finish_reason and is cut: at every place, once and for good, by whatever means."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import NodeLostError
from everytoken.recovery import LearnedCapabilities, Policy, Recovery, Target
from everytoken.recovery.breaker import Breaker
from everytoken.testing import Close, Head, Reset, Send, Stall
from simulation import Model, Simulation, request

DONE = b"data: [DONE]\n\n"
BROKEN = {
    "reset": [Reset()],
    "close": [Close()],
    "an error event": [Send(b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'), Close()],
    "an error in a choice": [
        Send(b'data: {"choices": [{"index": 0, "error": {"message": "overloaded", "code": 503}}]}\n\n'),
        Close(),
    ],
    "garbage": [Send(b'data: {"choices": [{"del\n\n'), Close()],
    "half an event": [Send(b'data: {"choices": [{"del'), Close()],
}


def chunk(delta=None, finish=None):
    return sse({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}]})


def sse(value):
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **value}
    return b"data: %b\n\n" % json.dumps(value).encode()


def text(content, finish=None):
    return chunk({"content": content}, finish)


def call(index, *, begins=True, arguments=""):
    begin = {"id": f"call_{index}", "type": "function"} if begins else {}
    function = {**({"name": f"f{index}"} if begins else {}), "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, **begin, "function": function}]})


STOP, CALLS = chunk(finish="stop"), chunk(finish="tool_calls")
SCRIPTS = {
    "text": [text("One "), STOP, text("two "), text("three.", "stop")],
    "a finish_reason with every part": [text(part, "stop") for part in ("ha ", "ha ", "ha ", "ha.")],
    "a finish_reason behind every part": [
        event for part in ("ha ", "ha ", "ha ", "ha.") for event in (text(part), STOP)
    ],
    "reasoning, then text": [chunk({"reasoning_content": "Hm."}), STOP, text("One "), text("two."), STOP],
    "tool calls": [
        call(0, arguments='{"a":'), call(0, begins=False, arguments="1}"), CALLS,
        call(1), call(1, begins=False, arguments='{"b":'), call(1, begins=False, arguments="2}"), CALLS,
    ],
    "text, then a tool call": [text("Let me "), text("look."), STOP, call(0, arguments="{}"), CALLS],
}  # fmt: skip


class Scripted(Model):
    """Sends `events`; its attempts are cut behind as many events as `cuts` say, and the others are whole."""

    def __init__(self, events, cuts, broken, *, prefills=False):
        super().__init__()
        self.events, self.cuts, self.broken, self.prefills = events, cuts, broken, prefills

    def steps(self, body):
        number = len(self.bodies)
        self.bodies.append(body)
        events = [*self.events, DONE]
        if body["messages"][-1]["role"] == "assistant":
            events = [*self._behind(body["messages"][-1]["content"]), DONE]
        at = self.cuts(number)
        if at is None:
            return [Head(), *map(Send, events), Close()]
        return [Head(), *map(Send, events[:at]), *self.broken]

    def _behind(self, given):
        """Yield what comes behind the text that the upstream is to continue."""
        for event in self.events:
            choice = json.loads(event[6:])["choices"][0]
            piece = choice["delta"].get("content", "")
            common = min(len(given), len(piece))
            assert given[:common] == piece[:common]
            given, rest = given[common:], piece[common:]
            if rest or (not piece and not given):
                yield text(rest, choice["finish_reason"]) if rest else event


def content(simulation):
    """Return what a client has, and how many finish reasons it was shown."""
    (choice,) = simulation.message["choices"] or [{"message": {}}]
    ends = sum(
        bool(choice["finish_reason"])
        for record in simulation.records
        for choice in json.loads(record)["choices"]
    )
    return {**choice["message"]}, ends


def run(events, cuts, broken, **options):
    model = Scripted(events, cuts, broken)
    return Simulation(model, truth="", **options).run()


def first_end(events):
    """Return behind how many events a finish reason stands, with nothing behind it."""
    return 1 + next(
        number for number, event in enumerate(events) if json.loads(event[6:])["choices"][0]["finish_reason"]
    )


REPLAY = Policy(strategies=frozenset({"replay"}))
EVERYTHING = Policy()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("events", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("policy", [REPLAY, EVERYTHING], ids=["replay", "every strategy"])
def test_a_cut_once_leaves_the_exact_answer(events, broken, policy):
    whole, ends = content(run(events, lambda _: None, broken))
    for at in range(len(events) + 1):
        simulation = run(events, lambda number, at=at: None if number else at, broken, policy=policy)
        assert simulation.outcome == "completed", at
        if at == first_end(events):
            # By all that can be known this was the end; see the test below.
            assert len(simulation.recovery.attempts) == 1
            continue
        assert len(simulation.recovery.attempts) == 2
        assert content(simulation) == (whole, ends), at


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("events", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("policy", [REPLAY, EVERYTHING], ids=["replay", "every strategy"])
def test_a_cut_every_time_is_an_error_and_nothing_is_doubled(events, broken, policy):
    whole, ends = content(run(events, lambda _: None, broken))
    for at in range(len(events) + 1):
        if at == first_end(events):
            continue
        simulation = run(events, lambda _, at=at: at, broken, policy=policy)
        delivered, seen = content(simulation)
        if simulation.outcome == "completed":
            # A prefill has gone on where each attempt before it was cut: to the end, or to what seemed to be one.
            seeming = content(run(events[: first_end(events)], lambda _: None, broken))
            assert (delivered, seen) in [(whole, ends), seeming]
            assert "prefill" in simulation.strategies
            continue
        assert simulation.error is not None
        assert seen <= ends
        for name in ("content", "reasoning_content"):
            assert (whole.get(name) or "").startswith(delivered.get(name) or "")
        if "prefill" not in simulation.strategies:
            assert len(simulation.records) <= at


@pytest.mark.parametrize("first", range(1, 8))
@pytest.mark.parametrize("events", SCRIPTS.values(), ids=SCRIPTS)
def test_cut_twice_at_different_places(events, first):
    whole, ends = content(run(events, lambda _: None, []))
    for second in range(1, len(events) + 1):
        cuts = {0: min(first, len(events)), 1: second}
        simulation = run(events, cuts.get, [Reset()], policy=REPLAY)
        if first == first_end(events) or (second == first_end(events) and first < second):
            continue
        if simulation.outcome == "completed":
            assert content(simulation) == (whole, ends), (first, second)
        else:
            assert simulation.error is not None


@pytest.mark.parametrize("at", range(1, 8))
def test_a_prefill_that_is_known_to_work_continues_it(at):
    events = SCRIPTS["a finish_reason behind every part"]
    whole, ends = content(run(events, lambda _: None, []))
    simulation = run(
        events, lambda number: None if number else at, [Reset()], prefill="yes",
        policy=Policy(strategies=frozenset({"prefill"})),
    )  # fmt: skip
    assert simulation.outcome == "completed"
    if at != first_end(events):
        assert simulation.strategies == ["first", "prefill"]
        assert content(simulation) == (whole, ends)


def test_what_readers_were_told_is_the_end_is_believed_where_nothing_followed_it():
    """A connection that breaks behind the finish_reason: nothing shows that more was to come."""
    simulation = run(SCRIPTS["text"], lambda _: 2, [Reset()])
    assert simulation.outcome == "completed"
    assert content(simulation)[0]["content"] == "One "


def test_a_repetition_that_pauses_behind_a_finish_reason_is_not_whole():
    """It has not given again what readers have, so the silence behind it is a stall and no end."""
    events = SCRIPTS["a finish_reason behind every part"]

    class Pausing(Scripted):
        def steps(self, body):
            steps = super().steps(body)
            return [*steps[:3], Stall()] if len(self.bodies) == 2 else steps

    model = Pausing(events, lambda number: None if number else 5, [Reset()])
    simulation = Simulation(model, truth="", policy=REPLAY).run()
    assert simulation.outcome == "completed"
    assert simulation.causes == ["upstream-truncated", "upstream-stalled-gap", None]
    assert content(simulation)[0]["content"] == "ha ha ha ha."


@pytest.mark.parametrize("events", SCRIPTS.values(), ids=SCRIPTS)
def test_another_process_does_not_take_a_beginning_for_the_whole(events):
    """Records of a dead process: where more has followed a finish_reason, none is proof of the end."""
    stored = run(events, lambda _: None, []).records
    whole, ends = content(run(events, lambda _: None, []))
    learned = LearnedCapabilities()
    for at in range(1, len(stored)):
        model = Scripted(events, lambda _: None, [])
        simulation = Simulation(model, truth="")
        simulation.recovery = Recovery(
            request=request(), targets=[Target(name="a")], seed=7, jitter=lambda: 0.5,
            experience=lambda _: learned, breaker=Breaker(),
        )  # fmt: skip
        recovery = simulation.recovery
        simulation.records = list(recovery.resume(0.0, stored[:at], NodeLostError("gone")))
        if at == first_end(events):
            assert recovery.outcome == "completed"
            continue
        assert recovery.outcome is None, at
        (connect, *_) = recovery.decisions
        recovery.connected(0.0)
        for step in model.steps(connect.body):
            if isinstance(step, Send):
                simulation.records += recovery.receive_data(0.0, step.data)
        assert recovery.outcome == "completed"
        simulation.records = [*stored[:at], *simulation.records]
        assert content(simulation) == (whole, ends), at
