"""The states of a response: what each input does in each state, the two clocks, time limits and the end."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest

from everytoken.errors import (
    CancelledError,
    ConnectError,
    EverytokenError,
    NotAnEventStreamError,
    StalledError,
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
from everytoken.testing import Answer, Head, Repeat, Send, Stall, Status, Wait
from simulation import Model, Simulation, request, text_of

POLICY = Policy(connect=1.0, first_content=5.0, content_gap=2.0, linger=0.5, backoff=1.0)
ROLE = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
WORD = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
STOP = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"id":"w","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"word "},"finish_reason":"stop"}]}'
ERROR = b'data: {"error":{"message":"broken"}}\n\n'


def machine(*names, policy=POLICY, ask=None, experience=None, breaker=None, jitter=0.5, **target):
    learned = {} if experience is None else experience
    return Recovery(
        request=ask or request(),
        targets=[Target(name=name, policy=policy, **target) for name in names or ("a",)],
        seed=7,
        jitter=lambda: jitter,
        experience=lambda one: learned.setdefault(one.name, LearnedCapabilities()),
        breaker=breaker or Breaker(),
    )


def in_state(state, **kwargs):
    """Return a machine in `state`, at time 10."""
    recovery = machine(**kwargs)
    if state == "new":
        return recovery
    recovery.start(10.0)
    if state == "backing off":
        recovery.fail(10.0, ConnectError("refused"))
    elif state != "connecting":
        recovery.connected(10.0)
    if state in {"accepted", "streaming", "lingering", "ended"}:
        recovery.accept(10.0)
    if state in {"streaming", "lingering", "ended"}:
        recovery.receive_data(10.0, ROLE + WORD)
    if state in {"lingering", "ended"}:
        recovery.receive_data(10.0, STOP)
    if state == "ended":
        recovery.receive_data(10.0, DONE)
    recovery.decisions.clear()
    return recovery


STATES = {
    "backing off": State.BACKING_OFF,
    "connecting": State.CONNECTING,
    "waiting": State.WAITING,
    "accepted": State.WAITING,
    "streaming": State.STREAMING,
    "lingering": State.LINGERING,
    "ended": State.ENDED,
}
INPUTS = {
    "connected": lambda r: r.connected(10.0),
    "accept": lambda r: r.accept(10.0),
    "content": lambda r: r.receive_data(10.0, WORD),
    "role": lambda r: r.receive_data(10.0, ROLE),
    "comment": lambda r: r.receive_data(10.0, b": ping\n\n"),
    "finish": lambda r: r.receive_data(10.0, STOP),
    "done": lambda r: r.receive_data(10.0, DONE),
    "error event": lambda r: r.receive_data(10.0, ERROR),
    "non-streaming": lambda r: r.receive_non_streaming(10.0, WHOLE),
    "eof": lambda r: r.receive_eof(10.0),
    "break": lambda r: r.fail(10.0, TruncatedError("cut")),
    "early tick": lambda r: r.tick(10.0),
    "deadline": lambda r: r.tick(min(1000000000.0, r.deadline)),
    "stop": lambda r: r.stop(10.0),
}
B, C, W, S, L, E = (
    State.BACKING_OFF, State.CONNECTING, State.WAITING, State.STREAMING, State.LINGERING, State.ENDED,
)  # fmt: skip
# Of each input: the state after it, by the state before it (in the order of STATES).
TABLE = {
    "connected":     [B, W, W, W, S, L, E],
    "accept":        [B, W, W, W, S, L, E],
    "content":       [B, C, S, S, S, L, E],
    "role":          [B, C, W, W, S, L, E],
    "comment":       [B, C, W, W, S, L, E],
    "finish":        [B, C, L, L, L, L, E],
    "done":          [B, C, B, B, B, E, E],
    "error event":   [B, C, B, B, B, L, E],
    "non-streaming": [B, C, E, E, E, E, E],
    "eof":           [B, C, B, B, B, E, E],
    "break":         [B, B, B, B, B, E, E],
    "early tick":    [B, C, W, W, S, L, E],
    "deadline":      [C, B, B, B, B, E, E],
    "stop":          [E, E, E, E, E, E, E],
}  # fmt: skip


@pytest.mark.parametrize("what", TABLE)
def test_each_input_in_each_state(what):
    for state, expected in zip(STATES, TABLE[what], strict=True):
        recovery = in_state(state)
        before = recovery.outcome
        INPUTS[what](recovery)
        assert (state, recovery.state) == (state, expected)
        ends = [decision for decision in recovery.decisions if isinstance(decision, End)]
        assert len(ends) == (expected is E and state != "ended"), state
        assert (recovery.deadline == float("inf")) == (expected is E), state
        if state == "ended":
            assert not recovery.decisions
            assert recovery.outcome == before == "completed"


def test_the_table_is_whole():
    assert TABLE.keys() == INPUTS.keys()
    assert {state for _, state in STATES.items()} == set(State)


@pytest.mark.parametrize("state", [state for state in STATES if state != "ended"])
def test_a_stop_lets_go_of_the_connection_in_every_state(state):
    recovery = in_state(state)
    recovery.stop(11.0)
    connected = state != "backing off"
    assert list(recovery.decisions) == [
        *([Disconnect(reusable=False)] if connected else []),
        End("cancelled", recovery.error),
    ]
    assert isinstance(recovery.error, CancelledError)
    assert recovery.attempts[-1].ended is not None


def test_a_bug_elsewhere_ends_the_response_with_what_it_has():
    for state, outcome in [("waiting", "failed"), ("streaming", "interrupted")]:
        recovery = in_state(state)
        recovery.stop(11.0, EverytokenError("bug"))
        assert (recovery.outcome, recovery.error.code) == (outcome, "internal-error")


# The clocks


def test_every_state_has_its_own_limit():
    recovery = machine()
    recovery.start(10.0)
    assert recovery.deadline == 11.0
    recovery.connected(10.5)
    assert recovery.deadline == 15.5
    recovery.receive_data(12.0, ROLE + WORD)
    assert recovery.deadline == 14.0
    recovery.receive_data(13.0, WORD)
    assert recovery.deadline == 15.0
    recovery.receive_data(13.5, STOP)
    assert recovery.deadline == 14.0
    assert recovery.tick(14.0) == []
    assert recovery.outcome == "completed"


NO_CONTENT = [
    pytest.param(b": ping\n\n", id="a comment"),
    pytest.param(b'event: ping\ndata: {"type": "ping"}\n\n', id="a ping"),
    pytest.param(ROLE, id="a role"),
    pytest.param(b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n', id="an empty delta"),
    pytest.param(b'data: {"choices":[{"index":0,"delta":{}}]}\n\n', id="a delta without anything"),
    pytest.param(b'data: {"choices":[{"index":0,"delta":null}]}\n\n', id="a null delta"),
    pytest.param(b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', id="usage"),
    pytest.param(b"data: {", id="half an event"),
]
CONTENT = [
    pytest.param({"content": "x"}, id="text"),
    pytest.param({"content": " "}, id="white space"),
    pytest.param({"reasoning_content": "x"}, id="reasoning"),
    pytest.param({"reasoning": "x"}, id="reasoning by its other name"),
    pytest.param({"refusal": "x"}, id="a refusal"),
    pytest.param({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}, id="a tool call"),
    pytest.param({"function_call": {"name": "f"}}, id="an old call"),
]


@pytest.mark.parametrize("data", NO_CONTENT)
def test_what_is_no_content_does_not_move_the_deadline(data):
    for state in ("accepted", "streaming"):
        recovery = in_state(state)
        before = recovery.deadline
        recovery.receive_data(11.5, data)
        assert (recovery.deadline, recovery.state) == (before, STATES[state])


@pytest.mark.parametrize("delta", CONTENT)
def test_what_is_content_moves_the_deadline(delta):
    data = b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
    for state in ("accepted", "streaming"):
        recovery = in_state(state)
        recovery.receive_data(11.5, data)
        assert (recovery.deadline, recovery.state) == (13.5, State.STREAMING)


@pytest.mark.parametrize(
    ("state", "heard", "code", "words"),
    [
        ("connecting", None, "upstream-stalled-connect", "no connection"),
        ("waiting", None, "upstream-stalled-first-content", "it sent nothing at all"),
        ("accepted", 12.0, "upstream-stalled-first-content", "its last byte came 3.0 s ago"),
        ("streaming", 11.5, "upstream-stalled-gap", "its last byte came 0.5 s ago"),
    ],
)
def test_a_stall_says_which_limit_it_broke_and_when_the_last_byte_came(state, heard, code, words):
    recovery = in_state(state, policy=msgspec.structs.replace(POLICY, thinking=1.0))
    if heard is not None:
        recovery.receive_data(heard, b": ping\n\n")
    recovery.tick(recovery.deadline)
    cause = recovery.attempts[0].cause
    assert isinstance(cause, StalledError)
    assert cause.code == code
    assert words in cause.message


def test_a_deadline_that_comes_nearer_is_told():
    recovery = in_state("waiting")
    recovery.receive_data(10.1, WORD)  # from 5 s for the first content to 2 s for the next
    assert recovery.decisions.pop() == Rearm()
    recovery.receive_data(10.2, WORD)
    assert not recovery.decisions
    recovery.receive_data(10.3, STOP)
    assert recovery.decisions.pop() == Rearm()


def test_five_minutes_of_one_second_gaps_pass_a_limit_of_two():
    answer = Answer.of_chunks(300)
    script = Simulation(Model(Answer(answer.content, delay=1.0)), policy=POLICY).run()
    assert (script.outcome, len(script.recovery.attempts)) == ("completed", 1)
    assert script.now - 1_000 > 300


def test_ten_minutes_of_pings_do_not_pass_for_content():
    class Pinging(Model):
        def steps(self, body):
            super().steps(body)
            return [Head(), Send(ROLE), Repeat((Wait(1.0), Send(b": ping\n\n")))]

    simulation = Simulation(Pinging(), policy=POLICY, truth="").run()
    assert simulation.causes == ["upstream-stalled-first-content"] * 3
    assert simulation.error.code == "recovery-exhausted"


def test_the_last_attempt_is_given_up_only_when_nobody_would_wait_any_longer():
    """Nobody who waits gets less than from an SDK that waits ten minutes."""

    class Silent(Model):
        def steps(self, body):
            super().steps(body)
            return [Head(), Stall()]

    simulation = Simulation(Silent(), policy=POLICY, truth="").run()
    spans = [attempt.ended - attempt.started for attempt in simulation.recovery.attempts]
    assert spans == [5.0, 5.0, 600.0]


# Back-off and Retry-After


@pytest.mark.parametrize(
    ("jitter", "first", "second"), [(0.0, 0.5, 1.0), (0.5, 0.75, 1.5), (0.999, 0.9995, 1.999)]
)
def test_back_off_doubles_and_half_of_it_is_jitter(jitter, first, second):
    recovery = machine(jitter=jitter)
    recovery.start(10.0)
    recovery.fail(10.0, ConnectError("refused"))
    assert recovery.deadline == pytest.approx(10.0 + first)
    recovery.tick(20.0)
    recovery.fail(20.0, ConnectError("refused"))
    assert recovery.deadline == pytest.approx(20.0 + second)


def test_back_off_has_a_ceiling():
    recovery = machine(policy=msgspec.structs.replace(POLICY, attempts=9, backoff_max=3.0), jitter=0.0)
    recovery.start(0.0)
    waits = []
    for now in range(0, 800, 100):
        recovery.fail(now, ConnectError("refused"))
        waits.append(recovery.deadline - now)
        recovery.tick(now + 50.0)
    assert waits == [0.5, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]


@pytest.mark.parametrize(
    ("after", "wait"), [(0.0, 0.0), (2.0, 2.0), (30.0, 30.0), (31.0, None)], ids=lambda value: f"{value}"
)
def test_retry_after_is_waited_for_unless_it_is_too_long(after, wait):
    recovery = machine()
    recovery.start(10.0)
    recovery.fail(10.0, StatusError("slow down", upstream_status=429, retry_after=after))
    if wait is None:
        assert (recovery.outcome, recovery.error.status) == ("failed", 429)
    elif wait:
        assert (recovery.state, recovery.deadline) == (State.BACKING_OFF, 10.0 + wait)
    else:
        assert recovery.state is State.CONNECTING


def test_retry_after_is_kept_to_while_others_are_asked():
    recovery = machine("a", "b")
    recovery.start(10.0)
    recovery.fail(10.0, StatusError("slow down", upstream_status=429, retry_after=20.0))
    assert recovery.attempts[-1].upstream == "b"
    for now in (15.0, 20.0):
        recovery.fail(now, ConnectError("refused"))
        recovery.tick(recovery.deadline)
        assert recovery.attempts[-1].upstream == "b"
    recovery.fail(21.0, ConnectError("refused"))
    assert (recovery.state, recovery.deadline) == (State.BACKING_OFF, 30.0)
    recovery.tick(30.0)
    assert recovery.attempts[-1].upstream == "a"


# What is delivered


def test_what_comes_before_the_first_content_is_held_so_that_a_retry_starts_clean():
    recovery = in_state("accepted")
    assert recovery.receive_data(10.0, ROLE) == []
    recovery.fail(10.0, TruncatedError("cut"))
    recovery.tick(20.0)
    recovery.connected(20.0)
    records = recovery.receive_data(20.0, ROLE.replace(b'"c"', b'"d"') + WORD)
    assert [json.loads(record)["id"] for record in records] == ["d", "c"]


def test_what_is_held_has_a_limit_and_a_retry_behind_it_has_one_role():
    recovery = in_state("accepted")
    records = [record for _ in range(300) for record in recovery.receive_data(10.0, ROLE)]
    assert len(records) == 300
    recovery.fail(10.0, TruncatedError("cut"))
    recovery.tick(20.0)
    recovery.connected(20.0)
    assert recovery.attempts[-1].strategy == "retry"
    records = recovery.receive_data(20.0, ROLE.replace(b'"c"', b'"d"') + WORD.replace(b'"c"', b'"d"'))
    assert [json.loads(record)["id"] for record in records] == ["c"]


def test_an_empty_answer_is_an_answer():
    recovery = in_state("accepted")
    records = recovery.receive_data(10.0, ROLE + STOP + DONE)
    assert recovery.outcome == "completed"
    assert len(records) == 2


def test_a_null_delta_with_a_finish_reason_is_delivered_as_an_empty_one():
    recovery = in_state("streaming")
    data = b'data: {"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}\n\n'
    (record,) = recovery.receive_data(10.0, data)
    assert json.loads(record)["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert recovery.state is State.LINGERING


def test_a_null_delta_of_a_continued_answer_still_ends_it():
    recovery = in_state("streaming")
    recovery.fail(10.0, TruncatedError("cut"))
    recovery.tick(20.0)
    recovery.connected(20.0)
    data = b'data: {"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}\n\n'
    (record,) = recovery.receive_data(20.0, WORD + data + DONE)
    assert json.loads(record)["choices"][0]["finish_reason"] == "stop"
    assert recovery.outcome == "completed"


def test_a_choice_without_delta_beside_one_with_text_loses_nothing():
    recovery = in_state("accepted")
    data = b'data: {"choices":[{"index":1,"delta":null},{"index":0,"delta":{"content":"word "}}]}\n\n'
    assert text_of(recovery.receive_data(10.0, data)) == "word "


def test_a_whole_answer_in_place_of_a_stream_is_taken():
    recovery = in_state("accepted")
    records = recovery.receive_non_streaming(10.0, WHOLE)
    assert text_of(records) == "word "
    assert recovery.outcome == "completed"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"choices":[]}', b'{"choices":[{"text":"x"}]}', b'{"choices":[1]}',
        b'{"choices":[{"message":"x"}]}', b'{"choices":[{"message":{"tool_calls":[1]}}]}', b"<html>", b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)  # fmt: skip
def test_a_body_that_is_no_answer_is_a_typed_error(body):
    recovery = in_state("accepted")
    assert recovery.receive_non_streaming(10.0, body) == []
    assert isinstance(recovery.attempts[0].cause, NotAnEventStreamError)


def test_an_error_in_a_whole_answer_is_the_upstreams():
    recovery = in_state("accepted")
    recovery.receive_non_streaming(10.0, b'{"error":{"message":"overloaded"}}')
    assert recovery.attempts[0].cause.code == "upstream-error-event"
    assert recovery.attempts[0].cause.message == "overloaded"


def test_a_whole_answer_cut_short_of_what_was_delivered_diverges():
    recovery = in_state("streaming")
    recovery.fail(10.0, TruncatedError("cut"))
    recovery.tick(20.0)
    recovery.connected(20.0)
    recovery.receive_non_streaming(20.0, WHOLE.replace(b"word ", b"wo"))
    assert recovery.attempts[1].cause.code == "upstream-diverged"


def test_a_break_behind_the_finish_reason_harms_nothing():
    for breaks in (
        lambda r: r.fail(10.0, TruncatedError("cut")),
        lambda r: r.receive_data(10.0, ERROR + b"data: }{\n\n"),
    ):
        recovery = in_state("lingering")
        breaks(recovery)
        recovery.tick(11.0)
        assert recovery.outcome == "completed"
        assert len(recovery.attempts) == 1


def test_an_event_too_large_behind_the_finish_reason_harms_nothing():
    recovery = in_state("lingering", ask=request(stream_options={"include_usage": True}))
    recovery.receive_data(10.0, b"data: " + b"x" * 17_000_000)
    records = recovery.tick(11.0)
    assert recovery.outcome == "completed"
    assert "usage" in json.loads(records[0])


def test_decisions_let_go_before_they_connect_again():
    recovery = in_state("streaming", policy=msgspec.structs.replace(POLICY, backoff=0.0))
    recovery.fail(10.0, TruncatedError("cut"))
    kinds = [type(decision) for decision in recovery.decisions]
    assert kinds == [Disconnect, Connect]


def test_the_connection_is_kept_only_after_a_completed_response():
    recovery = in_state("lingering")
    recovery.receive_data(10.0, DONE)
    assert list(recovery.decisions) == [Disconnect(reusable=True), End("completed", None)]


# What may be done


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        pytest.param({"n": 2}, "several choices", id="several choices"),
        pytest.param({"logprobs": True}, "logprobs", id="logprobs"),
    ],
)
def test_what_cannot_be_continued_is_said_so_once_it_was_delivered(fields, word):
    recovery = in_state("streaming", ask=request(**fields))
    recovery.fail(10.0, TruncatedError("the stream broke"))
    assert (recovery.outcome, recovery.error.code) == ("interrupted", "not-continuable")
    assert word in recovery.error.message
    assert "the stream broke" in recovery.error.message
    assert recovery.error.__cause__ is recovery.attempts[0].cause


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}])
def test_before_the_first_content_it_is_simply_retried(fields):
    recovery = in_state("accepted", ask=request(**fields))
    recovery.fail(10.0, TruncatedError("cut"))
    assert recovery.state is State.BACKING_OFF


def test_thinking_in_parts_is_not_continued():
    recovery = in_state("accepted")
    recovery.receive_data(
        10.0, b'data: {"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}\n\n'
    )
    recovery.fail(10.0, TruncatedError("cut"))
    assert recovery.error.code == "not-continuable"


def test_half_a_surrogate_pair_delivered_as_an_escape_is_not_continued():
    half, other = (WORD.replace(b"word ", text) for text in (b"a\\ud83d", b"\\ude00b"))
    recovery = in_state("accepted")
    recovery.receive_data(10.0, half)
    recovery.fail(10.0, TruncatedError("cut"))
    assert recovery.error.code == "not-continuable"
    recovery = in_state("accepted")
    recovery.receive_data(10.0, half + other)
    assert recovery.transcript.text == "a😀b"
    recovery.fail(10.0, TruncatedError("cut"))
    assert recovery.state is State.BACKING_OFF


def test_a_choice_nobody_asked_for_is_not_continued():
    recovery = in_state("streaming")
    recovery.receive_data(10.0, WORD.replace(b'"index":0', b'"index":1'))
    recovery.fail(10.0, TruncatedError("cut"))
    assert recovery.error.code == "not-continuable"


def test_secrets_are_taken_out_of_what_an_upstream_says():
    recovery = in_state("accepted", policy=msgspec.structs.replace(POLICY, attempts=1))
    recovery.redact = lambda text: text.replace("sk-1", "***")
    recovery.receive_data(10.0, b'data: {"error":{"message":"bad key sk-1"}}\n\n')
    assert recovery.error.message == str(recovery.error) == "bad key ***"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"connect": 0}, "connect"),
        ({"first_content": -1}, "first_content"),
        ({"content_gap": float("nan")}, "content_gap"),
        ({"non_streaming": float("inf")}, "non_streaming"),
        ({"backoff": -0.1}, "backoff"),
        ({"linger": float("inf")}, "linger"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": "many"}, "attempts"),
        ({"strategies": ["guess"]}, "strategies"),
        ({"patience": 3}, "patience"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_by_name(fields, word):
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert(fields, Policy)


# The breaker

A, B_ = ("a", "m"), ("b", "m")


def test_the_breaker_opens_after_failures_and_lets_one_probe():
    breaker = Breaker(threshold=3, pause=5.0, pause_max=12.0)
    for _ in range(2):
        breaker.failed(A, 0.0)
    assert breaker.allows(A, 0.0)
    breaker.failed(A, 0.0)
    assert not breaker.allows(A, 4.9)
    assert breaker.allows(A, 5.0)
    breaker.claim(A, 5.0)  # the probe
    assert not breaker.allows(A, 5.0)
    assert breaker.allows(A, 10.0), "a probe that is never heard of again does not block for ever"
    breaker.failed(A, 6.0)
    assert not breaker.allows(A, 15.9)
    assert breaker.allows(A, 16.0), "the pause doubles"
    breaker.failed(A, 16.0)
    assert breaker.allows(A, 28.0), "up to its limit"
    breaker.answers(A)
    assert breaker.allows(A, 16.0)
    breaker.failed(A, 16.0)
    assert not breaker.allows(A, 16.0), "an answer that is cut does not make the failures forgotten"
    breaker.succeeded(A)
    breaker.failed(A, 16.0)
    assert breaker.allows(A, 16.0)


def test_the_breaker_keeps_upstreams_and_models_apart():
    breaker = Breaker(threshold=1)
    breaker.failed(A, 0.0)
    assert not breaker.allows(A, 0.0)
    assert breaker.allows(B_, 0.0)
    assert breaker.allows(("a", "another"), 0.0)
    assert breaker.state(1.0) == {A: 4.0}


def test_the_breaker_remembers_no_more_models_than_it_has_room_for():
    breaker = Breaker(threshold=1)
    for number in range(10_000):
        breaker.failed(("a", str(number)), 0.0)
    assert len(breaker.state(0.0)) <= 4096
    assert not breaker.allows(("a", "9999"), 0.0)


def test_an_upstream_set_aside_is_asked_last_and_comes_back():
    breaker = Breaker(threshold=1, pause=5.0)
    breaker.failed(("a", "m"), 0.0)
    first = [machine("a", "b", breaker=breaker) for _ in range(3)]
    for recovery, now in zip(first, (1.0, 6.0, 6.0), strict=True):
        recovery.start(now)
    assert [recovery.attempts[0].upstream for recovery in first] == ["b", "a", "b"]
    first[1].connected(6.0)
    first[1].accept(6.0)
    first[1].receive_data(7.0, WORD)
    late = machine("a", "b", breaker=breaker)
    late.start(7.0)
    assert late.attempts[0].upstream == "a"


def test_the_only_upstream_is_asked_even_when_set_aside():
    breaker = Breaker(threshold=1)
    breaker.failed(("a", "m"), 0.0)
    recovery = machine("a", breaker=breaker)
    recovery.start(0.0)
    assert recovery.state is State.CONNECTING


def test_attempts_are_written_down_with_cause_seam_and_usage():
    model = Model(Answer("one two three four five six"), [(0, "close", 3), (1, "reset", 2)])
    simulation = Simulation(model, prefill="yes", ask=request(stream_options={"include_usage": True})).run()
    described = [attempt.describe(1_000.0) for attempt in simulation.recovery.attempts]
    assert [one["cause"] and one["cause"]["code"] for one in described] == ["upstream-truncated"] * 2 + [None]
    assert [one["offset"] for one in described] == [0, 4, 6]
    assert [one["strategy"] for one in described] == ["first", "prefill", "prefill"]
    assert [one["usage"]["completion_tokens"] for one in described] == [3, 2, 1]
    assert [one["usage"].get("estimated") for one in described] == [True, True, None]
    assert all(a["ended"] <= b["started"] for a, b in pairwise(described))
    last = json.loads(simulation.records[-1])
    assert last["everytoken"]["attempts"] == described
    prompt = described[-1]["usage"]["prompt_tokens"]
    assert last["usage"] == {
        "prompt_tokens": 3 * prompt,
        "completion_tokens": 6,
        "total_tokens": 3 * prompt + 6,
        "estimated": True,
    }
    assert simulation.recovery.usage == last["usage"]


def test_usage_of_an_only_attempt_is_the_upstreams_own():
    simulation = Simulation(Model(Answer("a b")), ask=request(stream_options={"include_usage": True})).run()
    usages = [json.loads(record).get("usage") for record in simulation.records]
    assert usages[-1] == simulation.recovery.usage
    assert sum(usage is not None for usage in usages) == 1
    assert "estimated" not in usages[-1]


def test_a_stopped_response_has_an_estimated_usage():
    recovery = in_state("streaming")
    recovery.stop(11.0)
    assert recovery.usage == {
        "prompt_tokens": None,
        "completion_tokens": 1,
        "total_tokens": None,
        "estimated": True,
    }


def test_status_steps_of_the_simulation_fail():
    """A harness that cannot fail proves nothing: a status of success with a JSON body is an answer, a 500 is not."""

    class Broken(Model):
        def steps(self, body):
            super().steps(body)
            return [Status(500)] if len(self.bodies) < 3 else [Status(200, body=WHOLE)]

    simulation = Simulation(Broken(), truth="word ").run()
    assert simulation.causes == ["upstream-status", "upstream-status", None]
