"""Which upstream is asked next and how: the order, what is learned, what is not tried again."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from everytoken.errors import (
    ConnectError,
    DivergedError,
    EverytokenError,
    RecoveryExhaustedError,
    StatusError,
)
from everytoken.recovery import LearnedCapabilities, Policy
from everytoken.testing import FAULTS, Answer, Kind, Status, ToolCall
from simulation import USER, Model, Simulation, request

TEXT = "Streaming sends each token as soon as it exists, one after the other."
ANSWER = Answer(TEXT)
REFUSES = Answer(TEXT, prefill="refuse")
RESTARTS = Answer(TEXT, prefill="restart")
MOODY = Answer(TEXT, deterministic=False, prefill="refuse")  # says something else each time


# What breaks an attempt; what only leaves a piece out cannot be known for it.
BREAKS = {
    name
    for name, fault in FAULTS.items()
    if fault.kind is Kind.BROKEN and name not in {"huge-event", "lost-chunk"}
}


def last_message(connect):
    return connect.body["messages"][-1]


def test_a_declared_prefill_sends_exactly_the_delivered_text():
    simulation = Simulation(Model(ANSWER, [(0, "close", 5)]), prefill="yes").run()
    second = simulation.connected[1]
    delivered = "".join(ANSWER.tokens[:5])
    assert last_message(second) == {"role": "assistant", "content": delivered}
    assert second.body["seed"] == simulation.connected[0].body["seed"] == 7
    assert simulation.message["choices"][0]["message"]["content"] == TEXT


def test_fields_for_a_prefill_are_added_to_it_alone():
    simulation = Simulation(
        Model(ANSWER, [(0, "close", 5)]),
        prefill="yes",
        extra={"cache_prompt": False},
        prefill_extra={"continue_final_message": True},
        prefill_message={"prefix": True},
    ).run()
    first, second = simulation.connected
    assert first.body["cache_prompt"] is False
    assert "continue_final_message" not in first.body
    assert second.body["cache_prompt"] is False
    assert second.body["continue_final_message"] is True
    assert last_message(second)["prefix"] is True


def test_an_unknown_upstream_is_asked_to_repeat_first():
    simulation = Simulation(Model(ANSWER, [(0, "close", 5)])).run()
    first, second = simulation.connected
    assert simulation.strategies == ["first", "replay"]
    assert second.body == first.body


def test_a_prefill_that_is_not_vouched_for_leaves_an_overlap_out():
    simulation = Simulation(Model(Answer(TEXT, deterministic=False), [(0, "close", 6)])).run()
    assert simulation.strategies == ["first", "replay", "prefill"]
    delivered, sent = "".join(ANSWER.tokens[:6]), last_message(simulation.connected[2])["content"]
    assert delivered.startswith(sent)
    assert 12 <= len(delivered) - len(sent) <= 18
    assert simulation.text == TEXT
    assert simulation.experience["a"].prefill == "continues"


def test_one_that_has_shown_that_it_continues_is_prefilled_at_once():
    experience = {"a": LearnedCapabilities(prefill="continues")}
    simulation = Simulation(Model(ANSWER, [(0, "close", 5)]), experience=experience).run()
    assert simulation.strategies == ["first", "prefill"]
    assert last_message(simulation.connected[1])["content"] == "".join(ANSWER.tokens[:5])


def test_a_restart_is_recognised_aligned_and_learned():
    model = Model(RESTARTS, [(0, "close", 5)])
    policy = Policy(strategies=frozenset({"prefill"}))
    simulation = Simulation(model, policy=policy).run()
    assert simulation.strategies == ["first", "prefill"]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert simulation.experience["a"].prefill == "restarts"
    later = Simulation(Model(RESTARTS, [(0, "close", 5)]), experience=simulation.experience).run()
    assert later.strategies == ["first", "replay"]


@pytest.mark.parametrize("prefill", ["yes", "auto"])
def test_a_refused_prefill_ends_in_the_whole_answer_and_is_not_tried_again(prefill):
    experience = {"a": LearnedCapabilities(prefill="continues")}
    simulation = Simulation(Model(REFUSES, [(0, "close", 5)]), experience=experience, prefill=prefill).run()
    assert simulation.strategies == ["first", "prefill", "replay"]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert simulation.causes == ["upstream-truncated", "upstream-status", None]
    assert experience["a"].prefill == "refused"
    later = Simulation(Model(REFUSES, [(0, "close", 5)]), experience=experience, prefill=prefill).run()
    assert later.strategies == ["first", "replay"]


def test_a_refused_prefill_ends_in_the_whole_answer_by_failover():
    models = Model(MOODY, [(0, "close", 5)], name="a"), Model(ANSWER, name="b")
    simulation = Simulation(*models, truth=TEXT).run()
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    upstreams = [attempt.upstream for attempt in simulation.recovery.attempts]
    assert upstreams == ["a", "a", "b"]
    assert simulation.recovery.attempts[0].cause.code == "upstream-truncated"


def test_when_nothing_is_faithful_the_text_so_far_is_kept_with_every_cause():
    simulation = Simulation(Model(MOODY, [(0, "close", 5)])).run()
    assert simulation.outcome == "interrupted"
    assert simulation.text == "".join(ANSWER.tokens[:5])
    error = simulation.error
    assert isinstance(error, RecoveryExhaustedError)
    assert [cause.code for cause in error.attempts] == [
        "upstream-truncated",
        "upstream-diverged",
        "upstream-status",
    ]
    assert error.__cause__ is error.attempts[0]
    assert error.attempts[0].message in error.message
    assert isinstance(error.attempts[1], DivergedError)


def test_divergence_and_refusal_are_no_faults():
    """They leave the attempts that are allowed to the faults."""
    model = Model(Answer(TEXT, deterministic=False), [(0, "close", 5), (2, "close", 2), (3, "close", 1)])
    simulation = Simulation(model, policy=Policy(attempts=4)).run()
    assert simulation.causes == ["upstream-truncated", "upstream-diverged", *["upstream-truncated"] * 2, None]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)


@pytest.mark.parametrize("strategies", [set(), {"non-streaming"}])
def test_with_no_strategy_allowed_what_was_cut_is_interrupted(strategies):
    policy = Policy(strategies=frozenset(strategies))
    simulation = Simulation(Model(ANSWER, [(0, "close", 5)]), policy=policy).run()
    assert (simulation.outcome, simulation.error.code) == ("interrupted", "upstream-truncated")


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        pytest.param("close", ["a", "a"], id="after a cut, the same upstream"),
        pytest.param("clean-end", ["a", "a"], id="after a clean end that is none, the same upstream"),
        pytest.param("silent", ["a", "b"], id="after silence, the next"),
        pytest.param("connection-refused", ["a", "a"], id="after a refused connection, once more the same"),
        pytest.param("status-503", ["a", "a"], id="after a status that may pass, once more the same"),
        pytest.param("html-instead", ["a", "b"], id="after something that is no stream, the next"),
    ],
)
def test_who_is_asked_next(fault, order):
    models = Model(ANSWER, [(0, fault, 5)], name="a"), Model(ANSWER, name="b")
    simulation = Simulation(*models).run()
    assert [attempt.upstream for attempt in simulation.recovery.attempts] == order
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)


@pytest.mark.parametrize(
    "fault", ["connection-refused", "status-500", "close", "clean-end", "error-event", "garbage-event"]
)
def test_every_upstream_is_asked_before_any_is_asked_a_third_time(fault):
    models = [Model(ANSWER, [("always", fault, "middle")], name=name) for name in "abc"]
    simulation = Simulation(*models, policy=Policy(strategies=frozenset({"replay"}), backoff=0.1)).run()
    upstreams = [attempt.upstream for attempt in simulation.recovery.attempts]
    third = next((i for i in range(len(upstreams)) if upstreams[: i + 1].count(upstreams[i]) == 3), 10)
    assert set(upstreams[:third]) == {"a", "b", "c"}
    assert max(upstreams.count(name) for name in "abc") <= 3
    assert len(upstreams) <= Policy().max_attempts


@pytest.mark.parametrize("name", sorted(BREAKS))
@pytest.mark.parametrize("position", ["start", "one", "middle", "last"])
def test_a_healthy_second_upstream_gives_the_answer_whatever_the_first_one_always_does(name, position):
    models = Model(ANSWER, [("always", name, position)], name="a"), Model(ANSWER, name="b")
    simulation = Simulation(*models).run()
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert [attempt.upstream for attempt in simulation.recovery.attempts].count("a") <= 2


def test_a_response_takes_no_more_attempts_than_it_may_in_all():
    models = [Model(ANSWER, [("always", "status-500", "start")], name=name) for name in "abcdefgh"]
    simulation = Simulation(*models).run()
    assert len(simulation.recovery.attempts) == 10
    assert simulation.error.code == "recovery-exhausted"


class Refusing(Model):
    """Refuses every request."""

    refusal = Status(400)

    def steps(self, body):
        super().steps(body)
        return [self.refusal]


def refusing(status, body=b'{"error":{"message":"no"}}', name="a"):
    model = Refusing(ANSWER, name=name)
    model.refusal = Status(status, body=body)
    return model


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":{"message":"no"}}'),
        (400, b'{"error":{"message":"filtered","code":"content_filter"}}'),
        (400, b"no JSON"),
        (415, b""),
        (422, b'{"detail":[{"loc":["body","temperature"],"msg":"too hot"}]}'),
    ],
)
def test_what_is_wrong_with_the_request_goes_to_the_caller_and_costs_one_call(status, body):
    simulation = Simulation(refusing(status, body), Model(ANSWER, name="b")).run()
    assert (simulation.outcome, simulation.error.code) == ("failed", "upstream-status")
    assert (simulation.error.upstream_status, simulation.error.body) == (status, body)
    assert len(simulation.recovery.attempts) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((status, b'{"error":{"message":"no"}}') for status in (401, 402, 403, 404, 405, 413, 451, 501)),
        (400, b'{"error":{"message":"too long","code":"context_length_exceeded"}}'),
        (400, b'{"error":{"message":"too long","type":"exceed_context_size_error"}}'),
        (400, b'{"error":{"message":"no such model","code":"model_not_found"}}'),
        (429, b'{"error":{"message":"pay","code":"insufficient_quota"}}'),
    ],
)
def test_what_another_upstream_may_well_accept_goes_to_it_at_once(status, body):
    simulation = Simulation(refusing(status, body), Model(ANSWER, name="b")).run()
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert [attempt.upstream for attempt in simulation.recovery.attempts] == ["a", "b"]
    assert simulation.now == 1_000.0
    alone = Simulation(refusing(status, body)).run()
    assert (alone.outcome, alone.error.upstream_status, len(alone.connected)) == ("failed", status, 1)


def test_refusals_inside_a_200_by_every_upstream_end_in_the_last_of_them():
    refusal = Status(200, body=b'{"error":{"message":"bad key","code":401}}', content_type="application/json")

    class InBand(Refusing):
        pass

    first, second = InBand(ANSWER, name="a"), InBand(ANSWER, name="b")
    first.refusal = second.refusal = refusal
    simulation = Simulation(first, second).run()
    assert (simulation.outcome, simulation.error.message) == ("failed", "bad key")
    assert [attempt.upstream for attempt in simulation.recovery.attempts] == ["a", "b"]


@pytest.mark.parametrize(("said", "calls"), [(False, ["a", "b"]), (True, ["a", "a", "b"])])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_what_an_upstream_says_of_trying_again_is_obeyed(said, calls, status):
    recovery = Simulation(Model(ANSWER, name="a"), Model(ANSWER, name="b")).recovery
    recovery.start(0.0)
    asked = []
    for now in range(3):
        asked.append(recovery.attempts[-1].upstream)
        recovery.fail(now, StatusError("no", upstream_status=status, should_retry=said))
        if recovery.outcome is not None:
            break
        recovery.tick(now + 0.9)
    expected = ["a"] if (status, said) == (400, False) else calls
    assert asked[: len(expected)] == expected


def test_a_time_that_is_more_than_a_moment_is_spent_at_the_next_upstream():
    for seconds, second in ((1.5, "a"), (2.5, "b")):
        recovery = Simulation(Model(ANSWER, name="a"), Model(ANSWER, name="b")).recovery
        recovery.start(0.0)
        recovery.fail(0.0, StatusError("no", upstream_status=429, retry_after=seconds))
        recovery.tick(seconds)
        assert (seconds, recovery.attempts[-1].upstream) == (seconds, second)


def test_a_refusal_after_content_makes_an_upstream_unusable_and_the_next_is_tried():
    class Revoked(Model):
        def steps(self, body):
            steps = super().steps(body)
            return steps if len(self.bodies) == 1 else [Status(401)]

    models = Revoked(ANSWER, [(0, "close", 5)], name="a"), Model(ANSWER, name="b")
    simulation = Simulation(*models).run()
    assert [attempt.upstream for attempt in simulation.recovery.attempts] == ["a", "a", "b"]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)


class Picky(Model):
    """An upstream that knows neither `seed` nor `stream_options`."""

    def steps(self, body):
        steps = super().steps(body)
        unknown = {"seed", "stream_options"} & body.keys()
        refusal = {
            "detail": [{"loc": ["body", name], "msg": "extra fields not permitted"} for name in unknown]
        }
        return [Status(422, body=json.dumps(refusal).encode())] if unknown else steps


def test_additions_of_ours_that_are_refused_are_left_out_and_this_is_learned():
    simulation = Simulation(Picky(ANSWER)).run()
    assert (simulation.outcome, simulation.causes) == ("completed", ["upstream-status", None])
    assert simulation.experience["a"].additions == "refused"
    assert len(Simulation(Picky(ANSWER), experience=simulation.experience).run().recovery.attempts) == 1


def test_what_the_caller_asks_for_is_not_left_out():
    ask = request(seed=3, stream_options={"include_usage": True})
    simulation = Simulation(Picky(ANSWER), ask=ask).run()
    assert (simulation.outcome, len(simulation.recovery.attempts)) == ("failed", 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":{"message":"Unrecognized request argument supplied: seed","param":null}}'),
        (400, b'{"error":{"message":"no","param":"stream_options"}}'),
        (422, b"unknown field: include_usage"),
        (
            404,
            b'{"error":{"message":"No endpoints found that can handle the requested parameters.","code":404}}',
        ),
    ],
)
def test_a_router_may_refuse_what_it_once_took(status, body):
    class Router(Model):
        def steps(self, asked):
            steps = super().steps(asked)
            return [Status(status, body=body)] if "seed" in asked else steps

    experience = {"a": LearnedCapabilities(additions="accepted")}
    simulation = Simulation(Router(ANSWER), experience=experience).run()
    assert (simulation.outcome, len(simulation.connected)) == ("completed", 2)
    assert experience["a"].additions == "refused"


def test_additions_refused_by_one_upstream_are_not_held_against_the_next():
    class Failing(Picky):
        def steps(self, body):
            steps = super().steps(body)
            return [Status(503)] if len(self.bodies) == 2 else steps

    simulation = Simulation(Failing(ANSWER, name="a"), Model(ANSWER, name="b")).run()
    assert [attempt.upstream for attempt in simulation.recovery.attempts] == ["a", "a", "b"]
    assert "seed" in simulation.connected[-1].body
    assert simulation.experience["b"].additions == "accepted"


@pytest.mark.parametrize(
    ("ask", "strategies"),
    [
        pytest.param({"response_format": {"type": "json_object"}}, ["first", "replay"], id="JSON mode"),
        pytest.param({"response_format": {"type": "json_schema"}}, ["first", "replay"], id="a JSON schema"),
        pytest.param({"response_format": {"type": "text"}}, ["first", "prefill"], id="text"),
        pytest.param({"tools": [{"type": "function"}]}, ["first", "replay"], id="tools: repeat first"),
    ],
)
def test_what_is_bound_to_a_grammar_is_not_prefilled(ask, strategies):
    simulation = Simulation(Model(ANSWER, [(0, "close", 5)]), ask=request(**ask), prefill="yes").run()
    assert simulation.strategies == strategies


CALLS = Answer(
    "Let me look.",
    tool_calls=(
        ToolCall("get_weather", '{"city": "Zürich"}'),
        ToolCall("get_time", '{"zone": "CET"}', "call_2"),
    ),
)
THINKS = Answer("It depends on the weather.", reasoning="The user asks about the weather, so let me think.")
EVERYWHERE = [pytest.param(CALLS, id="tool calls"), pytest.param(THINKS, id="reasoning")]


def uncut(answer):
    return Simulation(Model(answer)).run().message["choices"]


@pytest.mark.parametrize("answer", EVERYWHERE)
@pytest.mark.parametrize("prefill", ["continue", "refuse", "restart"])
def test_a_call_or_reasoning_cut_anywhere_comes_once(answer, prefill):
    whole = uncut(answer)
    answer = replace(answer, prefill=prefill)
    for cut in range(40):
        simulation = Simulation(Model(answer, [(0, "close", cut)])).run()
        assert (cut, simulation.outcome, simulation.message["choices"]) == (cut, "completed", whole)


@pytest.mark.parametrize("answer", EVERYWHERE)
def test_a_call_or_reasoning_that_is_not_repeated_is_an_explicit_error_and_never_prefilled(answer):
    moody = replace(answer, deterministic=False, tool_calls=(), reasoning="")
    for cut in range(1, 12):

        class Once(Model):
            """The first answer as given, every other one without its calls and thoughts."""

            def steps(self, body):
                self.answer = answer if not self.bodies else moody
                return super().steps(body)

        simulation = Simulation(Once(answer, [(0, "close", cut)]), prefill="yes", truth="").run()
        if simulation.recovery.transcript.text_only:
            continue
        if simulation.outcome == "completed":
            assert simulation.message["choices"] == uncut(answer)
        else:
            assert simulation.outcome == "interrupted"
            assert isinstance(simulation.error, EverytokenError)
        assert "prefill" not in simulation.strategies


# Limits on the answer's length


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("target", [{"prefill": "yes"}, {}], ids=["prefill", "replay"])
def test_a_limit_on_the_length_holds_over_all_attempts(name, target):
    ask = request(**{name: 9})
    for cut in range(1, 9):
        truth = "".join(ANSWER.tokens[:9])
        simulation = Simulation(Model(ANSWER, [(0, "close", cut)]), ask=ask, truth=truth, **target).run()
        assert (cut, simulation.outcome, simulation.text) == (cut, "completed", truth)
        assert simulation.message["choices"][0]["finish_reason"] == "length"


def test_a_limit_on_the_length_holds_with_an_overlap():
    answer = Answer(TEXT, deterministic=False)
    truth = "".join(ANSWER.tokens[:9])
    simulation = Simulation(Model(answer, [(0, "close", 6)]), ask=request(max_tokens=9), truth=truth).run()
    assert simulation.strategies == ["first", "replay", "prefill"]
    assert (simulation.outcome, simulation.text) == ("completed", truth)


# Without streaming


def test_the_last_attempt_does_without_streaming_when_streams_keep_breaking():
    simulation = Simulation(Model(REFUSES, [("always", "garbage-event", "middle")])).run()
    assert [attempt.streamed for attempt in simulation.recovery.attempts] == [True, True, True, False]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    last = simulation.connected[-1]
    assert not last.streamed
    assert not {"stream", "stream_options"} & last.body.keys()
    assert simulation.recovery.attempts[-1].usage["completion_tokens"] == len(ANSWER.tokens)


@pytest.mark.parametrize("fault", ["silent", "connection-refused", "status-500"])
def test_what_is_not_streamings_fault_is_not_answered_by_doing_without(fault):
    simulation = Simulation(Model(REFUSES, [("always", fault, "middle")])).run()
    assert all(attempt.streamed for attempt in simulation.recovery.attempts)


def test_a_continuation_that_gets_on_goes_on_streaming():
    simulation = Simulation(Model(ANSWER, [(0, "close", 5), (1, "close", 3)]), prefill="yes").run()
    assert [attempt.streamed for attempt in simulation.recovery.attempts] == [True, True, True]


def test_a_whole_answer_that_echoes_its_prefill_is_not_doubled():
    """llama.cpp gives a prefilled text back when it does not stream."""

    class Echoing(Model):
        def steps(self, body):
            if body.get("stream"):
                return super().steps(body)
            self.bodies.append(body)
            value = {
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
                ]
            }
            return [Status(200, body=json.dumps(value).encode())]

    answer = Answer(TEXT, deterministic=False)
    policy = Policy(strategies=frozenset({"prefill", "non-streaming"}))
    rules = [(0, "close", 6), (1, "garbage-event", 0), (2, "garbage-event", 0)]
    simulation = Simulation(Echoing(answer, rules), policy=policy, prefill="yes", truth=TEXT).run()
    assert [attempt.streamed for attempt in simulation.recovery.attempts] == [True, True, True, False]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert simulation.experience["a"].prefill == "unknown", (
        "what it does without streaming says nothing about streams"
    )


def test_policies_are_each_upstreams_own():
    """The clocks are the asked upstream's; how often to try is the first one's."""
    recovery = Simulation(Model(ANSWER, name="a"), Model(ANSWER, name="b")).recovery
    recovery.targets[1] = msgspec.structs.replace(recovery.targets[1], policy=Policy(connect=3.0, attempts=1))
    recovery.start(0.0)
    assert recovery.deadline == 10.0
    for _ in range(2):
        recovery.fail(0.0, ConnectError("refused"))
        recovery.tick(min(recovery.deadline, 1.0))
    assert recovery.attempts[-1].upstream == "b"
    assert recovery.deadline == pytest.approx(3.0, abs=1.0)


def test_the_request_of_the_caller_is_never_changed():
    body = {"model": "m", "messages": list(USER), "stream": True}
    ask = request()
    Simulation(Model(ANSWER, [(0, "close", 5)]), ask=ask, prefill="yes").run()
    assert ask.body == body


def test_a_continuation_that_gets_on_until_the_attempts_are_spent_is_once_asked_for_whole():
    simulation = Simulation(Model(ANSWER, [("always", "garbage-event", "middle")]), prefill="yes").run()
    assert [attempt.streamed for attempt in simulation.recovery.attempts] == [True, True, True, False]
    assert simulation.strategies == ["first", "prefill", "prefill", "replay"]
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)


def test_asking_for_it_whole_happens_once():
    class Hopeless(Model):
        def steps(self, body):
            return super().steps(body) if body.get("stream") else [Status(200, body=b"{}")]

    simulation = Simulation(Hopeless(ANSWER, [("always", "garbage-event", "middle")]), prefill="yes").run()
    assert simulation.outcome == "interrupted"
    assert [attempt.streamed for attempt in simulation.recovery.attempts] == [True, True, True, False]


class Unstreaming(Model):
    """Refuses to stream, in one of the ways in which servers do."""

    refusal: str = '{"error": {"message": "your organization must be verified", "param": "stream"}}'

    def steps(self, body):
        if body.get("stream"):
            self.bodies.append(body)
            return [Status(400, body=self.refusal.encode())]
        return super().steps(body)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ('{"error": {"message": "your organization must be verified", "param": "stream"}}', "its param"),
        ('{"message": "x", "param": "stream"}', "its param"),
        ('{"error": {"message": "this model does not support streaming"}}', "its words"),
        ('{"error": {"message": "stream=true is not supported"}}', "its words"),
        ('{"error": {"message": "unknown field stream_options"}}', "nothing"),
        ("not JSON", "nothing"),
        ('{"error": {"message": "max_tokens is too large", "param": "max_tokens"}}', "nothing"),
    ],
)
def test_who_refuses_to_stream_is_asked_for_a_whole_answer(refusal, told, stream):
    model = Unstreaming(ANSWER)
    model.refusal = refusal
    experience = {}
    done = Simulation(model, ask=request(stream=stream), experience=experience).run()
    if told == "its param" or (told == "its words" and not stream):
        assert done.outcome == "completed"
        assert [connect.streamed for connect in done.connected] == [True, False]
        again = Simulation(model, ask=request(stream=stream), experience=experience).run()
        assert [connect.streamed for connect in again.connected] == [False], "it is remembered"
    else:
        assert done.outcome == "failed"
        assert all(connect.streamed for connect in done.connected)


@pytest.mark.parametrize(
    ("fields", "streamed"),
    [
        ({"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "mp3"}}, False),
        ({"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "pcm16"}}, True),
        ({"modalities": ["text"]}, True),
        ({"modalities": "audio", "audio": 1}, True),
    ],
)
def test_sound_in_a_format_that_is_not_streamed_is_asked_for_whole(fields, streamed):
    done = Simulation(Model(ANSWER), ask=request(**{**fields, "stream": False})).run()
    assert [connect.streamed for connect in done.connected] == [streamed]
    done = Simulation(Model(ANSWER), ask=request(**fields)).run()
    assert [connect.streamed for connect in done.connected] == [True], "the caller wants a stream"
