"""Everything that a reader can see is content: after a cut at any byte each field is there once, or there is an error.

The shapes are those of servers in the field; a shape that is new to us is one more line of the table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from content_shapes import SHAPES, comparable, wire
from everytoken.errors import NodeLostError
from everytoken.recovery import Policy, State
from everytoken.testing import CleanEnd, Head, Send
from sampling import sampled
from simulation import Simulation, request

POLICY = Policy(attempts=3, strategies=frozenset({"replay"}))
MARKS = ("SIGNATURE", "MARK/1", "MARK/2", "AAAA", "BBBB", "CC==", "RESULT", "xyz", "uvw", "http://a")


@dataclass
class Wires:
    """An upstream that sends these bytes, an attempt each, the last of them again and again."""

    answers: list[bytes]
    name: str = "a"
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def steps(self, body: dict[str, Any]) -> list[Any]:
        self.bodies.append(body)
        data = self.answers[min(len(self.bodies), len(self.answers)) - 1]
        return [Head(), Send(data), CleanEnd()]


def asked(*answers: bytes, **fields: Any) -> Simulation:
    return Simulation(Wires(list(answers)), policy=POLICY, truth="", ask=request(**fields)).run()


def message_of(done: Simulation) -> dict[str, Any]:
    return comparable(done.message)


def seen(done: Simulation) -> list[int]:
    """Return how often each mark was delivered."""
    data = b"".join(done.records).decode()
    return [data.count(mark) for mark in MARKS]


@pytest.mark.parametrize("again", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_after_a_cut_at_any_byte_each_field_is_there_once(shape: str, again: int) -> None:
    first, second = wire(SHAPES[shape]), wire(SHAPES[shape], number=2, again=again)
    uncut = asked(first)
    assert uncut.outcome == "completed"
    assert len(json.dumps(uncut.message)) > 100
    for cut in sampled(range(len(first)), 5):
        done = asked(first[:cut], second)
        assert done.outcome == "completed", (cut, done.error)
        assert message_of(done) == message_of(uncut), cut
        if shape != "citations beside the choices":
            assert seen(done) == seen(uncut), cut


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_that_is_always_cut_is_never_complete(shape: str) -> None:
    first = wire(SHAPES[shape])
    end = first.index(b'"finish_reason": "stop"')
    for cut in sampled(range(0, end, 7), 5):
        done = asked(first[:cut])
        assert done.outcome != "completed"
        assert done.error is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_repetition_that_differs_is_never_spliced(shape: str) -> None:
    first = wire(SHAPES[shape])
    whole = message_of(asked(first))
    for mark, other in (
        *((mark, mark[:-1] + "Z") for mark in MARKS),
        ("--dry-run", "--force!!"),
        ("rm -r", "rm -x"),
        ("hard", "easy"),
        ("Hm.", "Oh."),
    ):
        if mark.encode() not in first:
            continue
        second = first.replace(mark.encode(), other.encode())
        others = message_of(asked(second))
        for cut in sampled(range(0, len(first), 3), 5):
            done = asked(first[:cut], second)
            if done.outcome == "completed":
                assert message_of(done) in (whole, others), (mark, cut)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_field_is_passed_on_at_once_and_is_a_sign_of_life(shape: str) -> None:
    """A reader waits for nothing, and an upstream that sends is not given up."""
    events = wire(SHAPES[shape]).split(b"\n\n")[: len(SHAPES[shape])]
    simulation = Simulation(Wires([b""]), policy=POLICY, truth="")
    recovery = simulation.recovery
    recovery.start(0.0)
    recovery.connected(0.0)
    recovery.accept(0.0)
    for number, event in enumerate(events):
        now = 20.0 * (number + 1)
        assert recovery.deadline > now
        assert len(recovery.receive_data(now, event + b"\n\n")) == 1
    # Progress shows that the model works, and is nothing of its response.
    assert recovery.transcript.chunks == sum(b"prompt_progress" not in event for event in events)


def test_progress_is_a_sign_of_life_and_nothing_of_the_answer() -> None:
    progress = (
        b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":null}}],'
        b'"prompt_progress":{"total":100,"processed":%d}}\n\n'
    )
    recovery = Simulation(Wires([b""]), policy=POLICY, truth="").recovery
    recovery.start(0.0)
    recovery.connected(0.0)
    recovery.accept(0.0)
    for number in range(10):
        now = 20.0 * (number + 1)
        assert recovery.deadline > now
        assert len(recovery.receive_data(now, progress % number)) == 1
    assert recovery.transcript.chunks == 0
    done = asked(progress % 1, wire([{"delta": {"content": "Text."}}], number=2))
    assert (done.outcome, done.text) == ("completed", "Text.")
    assert [attempt.strategy for attempt in done.recovery.attempts] == ["first", "retry"]


@pytest.mark.parametrize("usage", [True, False])
def test_what_comes_without_choices_can_be_looked_into(usage: bool) -> None:  # noqa: FBT001
    """A client's `chunk.choices[0].delta` must not fail on it."""
    first = b'data: {"object":"chat.completion.chunk","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
    late = (
        b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"finish_reason":null,'
        b'"content_filter_offsets":{"check_offset":1}}]}\n\n'
    )
    sources = b'data: {"object":"chat.completion.chunk","search_results":[{"url":"u"}]}\n\n'
    text = wire([{"delta": {"content": "Text."}}]).split(b"\n\n")
    done = asked(
        first + text[0] + b"\n\n" + late + sources + b"\n\n".join(text[1:]),
        **({"stream_options": {"include_usage": True}} if usage else {}),
    )
    chunks = [json.loads(record) for record in done.records]
    assert [sorted(chunk.keys() & {"prompt_filter_results", "search_results"}) for chunk in chunks[:4]] == [
        ["prompt_filter_results"],
        [],
        [],
        ["search_results"],
    ]
    assert "content_filter_offsets" in chunks[2]["choices"][0]
    assert all(
        chunk["choices"][0]["delta"] is not None for chunk in chunks if not (usage and "usage" in chunk)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_another_writer_goes_on_with_what_has_been_delivered(shape: str) -> None:
    """A takeover knows the response by its records alone."""
    first, second = wire(SHAPES[shape]), wire(SHAPES[shape], number=2)
    uncut = asked(first)
    for count in range(1, len(uncut.records)):
        simulation = Simulation(Wires([second]), policy=POLICY, truth="")
        recovery = simulation.recovery
        simulation.records += uncut.records[:count]
        simulation.records += recovery.resume(0.0, uncut.records[:count], NodeLostError("it died"))
        recovery.decisions.clear()
        if recovery.state is not State.ENDED:
            if recovery.state is State.BACKING_OFF:
                recovery.tick(recovery.deadline)
            recovery.accept(0.0)
            simulation.records += recovery.receive_data(0.0, second)
        assert recovery.outcome == "completed", (count, recovery.error)
        assert message_of(simulation) == message_of(uncut), count


def test_flags_stand_with_what_they_mark_however_a_repetition_is_cut_into_chunks() -> None:
    flag = {"extra_content": {"google": {"thought": True}}}
    first = wire(SHAPES["thoughts that are marked"])
    second = wire(
        [
            {"delta": {"content": "<thought>First this, then ", **flag}},
            {"delta": {"content": "that.</thought>", **flag}},
            {"delta": {"content": "Text."}},
        ],
        number=2,
    )
    for cut in sampled(range(len(first)), 5):
        done = asked(first[:cut], second)
        assert done.outcome == "completed", (cut, done.error)
        for record in done.records:
            delta = json.loads(record)["choices"][0]["delta"]
            if text := delta.get("content"):
                assert ("extra_content" in delta) == (text != "Text."), (cut, record)
