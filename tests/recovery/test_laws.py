"""The delivery laws: whatever is cut where, by what, and however the bytes come, the text is a prefix of the truth, once.

`Simulation` checks them after every call: the delivered text is a prefix of the truth, one connection at a time, one end,
and `completed` only with all of the text.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from everytoken.dialects.openai_chat import Accumulator
from everytoken.recovery import LearnedCapabilities, Policy
from everytoken.testing import (
    FAULTS,
    Answer,
    AtByte,
    CleanEnd,
    Head,
    Kind,
    Reset,
    Send,
    Stall,
    ToolCall,
    split_everywhere,
)
from simulation import MOST_ATTEMPTS, Model, Simulation, request, text_of

TEXT = "Ünïcode 文字 👨‍👩‍👧 ha ha ha:  two spaces,\n\nand an end. 👍🏽"
STRATEGIES = {
    "prefill, declared": ({}, {"prefill": "yes", "policy": Policy(strategies=frozenset({"prefill"}))}),
    "prefill, proved": ({}, {"policy": Policy(strategies=frozenset({"prefill"}))}),
    "restart": ({"prefill": "restart"}, {"policy": Policy(strategies=frozenset({"prefill"}))}),
    "replay": ({"prefill": "refuse", "needs_seed": True}, {}),
    "all": ({}, {}),
}


def length(answer):
    """The bytes of a healthy answer."""
    model = Model(answer)
    Simulation(model).run()
    steps = model.steps(model.bodies[0])
    return sum(len(step.data) for step in steps if isinstance(step, Send))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_cut_at_a_byte_leaves_the_exact_text(name):
    behaviour, options = STRATEGIES[name]
    answer = Answer(TEXT, **behaviour)
    total = length(Answer(TEXT))
    tried = 0
    for at in range(0, total + 1, 53):  # an odd step, so that the cuts are anywhere in an event
        for fault in ("close", "clean-end"):
            simulation = Simulation(Model(answer, [(0, fault, AtByte(at))]), **options).run()
            # With this strategy alone: a text too short for an overlap.
            short = len(simulation.recovery.transcript.text) < 6 and name in {"prefill, proved", "restart"}
            assert simulation.outcome == "completed" or short, (at, fault, simulation.causes)
            tried += len(simulation.recovery.attempts) > 1
    assert tried > total / 53


@pytest.mark.parametrize("name", ["prefill, declared", "replay"])
def test_every_cut_at_a_chunk_leaves_the_exact_message(name):
    behaviour, options = STRATEGIES[name]
    answer = Answer(TEXT, **behaviour)
    whole = Simulation(Model(answer)).run().message["choices"]
    for at in range(len(answer.tokens) + 1):
        simulation = Simulation(Model(answer, [(0, "reset", at)]), **options).run()
        assert (at, simulation.message["choices"]) == (at, whole)


def test_the_reads_make_no_difference():
    """Each event of a cut answer and of the one that goes on with it, cut into reads everywhere."""
    answer = Answer("Hé, 文字 👍🏽.")
    expected = Simulation(Model(answer, [(0, "close", 3)])).run()
    seen = 0
    shortest = min(len(step.data) for step in Model(answer).steps(request().body) if isinstance(step, Send))
    for number, reads in enumerate(split_everywhere(b"x" * shortest)):
        if number % 9:  # a sample: there are thousands
            continue
        cuts = [len(read) for read in reads]

        def split(data, cuts=cuts):
            position = 0
            for size in cuts[:-1]:
                yield data[position : position + size]
                position += size
            yield data[position:]

        simulation = Simulation(Model(answer, [(0, "close", 3)]), split=split).run()
        assert simulation.records == expected.records
        seen += 1
    assert seen > 10


def recordings():
    """Yield the request and the bytes of each streamed answer recorded from a real server."""
    for path in sorted(Path(__file__).parents[1].glob("fixtures/upstreams/*.jsonl")):
        first, *reads = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        body = b"".join(base64.b64decode(read["data"]) for read in reads)
        if first["status"] == 200 and first["request"].get("stream"):
            yield pytest.param(first["request"], body, id=first["name"])


@pytest.mark.parametrize(("asked", "body"), list(recordings()))
@pytest.mark.parametrize("ending", [Reset(), CleanEnd(), Stall()], ids=lambda step: type(step).__name__)
def test_a_recorded_response_cut_anywhere_and_replayed_is_the_uncut_one(asked, body, ending):
    class Recorded(Model):
        def steps(self, request_body):
            self.bodies.append(request_body)
            cut = at if len(self.bodies) == 1 else len(body)
            return [Head(), Send(body[:cut]), ending if len(self.bodies) == 1 else CleanEnd()]

    ask = request(**{key: value for key, value in asked.items() if key != "messages"})
    at = len(body)
    whole = Simulation(Recorded(), ask=ask, truth="").run()
    assert whole.outcome == "completed"
    text, message = text_of(whole.records), whole.message["choices"]
    exact = 0
    for at in range(0, len(body), max(1, len(body) // 40)):
        simulation = Simulation(Recorded(), ask=ask, truth=text).run()
        if simulation.outcome == "completed":
            assert (at, simulation.message["choices"]) == (at, message)
            exact += 1
        else:
            assert simulation.error.code == "not-continuable"
            assert asked.get("n", 1) > 1 or asked.get("logprobs")
    assert exact > 1


NAMES = sorted(
    name
    for name, fault in FAULTS.items()
    if fault.kind is not Kind.HEALTHY and name not in {"gzip", "huge-event"}
)
PIECES = st.lists(
    st.one_of(
        st.sampled_from(["ha ", "a", " ", "\n", "文", "👍", "\u200d", "é", '"', "\\"]), st.text(max_size=4)
    ),
    min_size=1,
    max_size=12,
).filter(any)
RULES = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, "always"]), st.sampled_from(NAMES), st.integers(0, 14)), max_size=4
)


@st.composite
def answers(draw):
    return Answer(
        draw(PIECES.map(lambda pieces: [piece for piece in pieces if piece])),
        prefill=draw(st.sampled_from(["continue", "restart", "refuse"])),
        deterministic=draw(st.booleans()),
        needs_seed=draw(st.booleans()),
        ids=draw(st.sampled_from(["same", "changing"])),
        reasoning=draw(st.sampled_from(["", "Hm, hm."])),
        tool_calls=draw(st.sampled_from([(), (ToolCall("f", '{"a": "b"}'),)])),
        escaped=draw(st.booleans()),
        done=draw(st.booleans()),
    )


@settings(max_examples=250, deadline=None)
@given(
    answer=answers(),
    rules=RULES,
    more=st.none() | RULES,
    declared=st.sampled_from(["yes", "no", "auto"]),
    learned=st.sampled_from(["unknown", "continues", "restarts", "refused"]),
    usage=st.booleans(),
)
@example(  # another model continues what the first one has said in its second attempt
    answer=Answer(["ha "], prefill="continue", deterministic=False),
    rules=[(0, "bad-chunk-framing", 0), (1, "bad-chunk-framing", 2)],
    more=[],
    declared="yes",
    learned="unknown",
    usage=False,
)
def test_whatever_happens_no_text_is_wrong_and_the_response_ends(
    answer, rules, more, declared, learned, usage
):
    # A declaration, or experience, that is not true is the operator's doing: what follows from it is not looked at.
    if answer.prefill != "continue" and declared == "yes":
        declared = "auto"
    if learned == "continues" and answer.prefill != "continue":
        learned = "unknown"
    models = [Model(answer, rules, name="a"), *([] if more is None else [Model(answer, more, name="b")])]
    ask = request(stream_options={"include_usage": True}) if usage else request()
    experience = {"a": LearnedCapabilities(prefill=learned)}
    simulation = Simulation(*models, ask=ask, prefill=declared, experience=experience, truth="").run()
    texts = {answer.variant(n).text for n in range(MOST_ATTEMPTS)}
    if simulation.outcome == "completed":
        assert simulation.text in texts
        joined = Accumulator()
        for record in simulation.records:
            joined.add(record)
        (choice,) = joined.message()["choices"]
        assert choice["finish_reason"] == answer.finish
        calls = choice["message"].get("tool_calls", [])
        assert [call["function"]["arguments"] for call in calls] == [
            call.arguments for call in answer.tool_calls
        ]
    else:
        assert any(text.startswith(simulation.text) for text in texts)
        assert simulation.error.message
    attempts = len(simulation.recovery.attempts)
    assert attempts <= 12
    assert simulation.recovery.attempts[-1].ended is not None
