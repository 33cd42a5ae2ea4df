"""Slow is not dead: an attempt whose limit has passed is suspected, and another one is begun beside it."""

from __future__ import annotations

import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.errors import ConnectError, StatusError, TruncatedError
from everytoken.recovery import (
    Breaker,
    Connect,
    Disconnect,
    LearnedCapabilities,
    Policy,
    Recovery,
    State,
    Target,
)
from everytoken.testing import Answer, Head, Repeat, Send, ToolCall, Wait
from simulation import USER, Model, Simulation, request

POLICY = Policy(backoff=0.0)


def word(text, name="c"):
    return (
        b'data: {"id":"%b","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
        % (name.encode(), text.encode())
    )


def role(name="c"):
    return word("", name).replace(b'"content":""', b'"role":"assistant"')


END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"object":"chat.completion.chunk"}\n\ndata: [DONE]\n\n'


class Driver:
    """Carries out what is decided: who is connected, what was delivered."""

    def __init__(self, *names, policy=POLICY, hedging=True, ask=None, **fields):
        self.learned = {}
        self.breaker = Breaker()
        self.recovery = Recovery(
            request=ask or request(**fields),
            targets=[Target(name=name, policy=policy) for name in names or ("a",)],
            seed=7,
            jitter=lambda: 0.0,
            experience=lambda target: self.learned.setdefault(target.name, LearnedCapabilities()),
            breaker=self.breaker,
            hedging=hedging,
        )
        self.connected = {}
        self.closed = []
        self.text = ""
        self.now = 0.0
        self.recovery.start(0.0)
        self.carry_out()

    def carry_out(self, records=()):
        self.text += "".join(
            piece.split('"')[0] for record in records for piece in record.decode().split('"content":"')[1:]
        )
        while self.recovery.decisions:
            decision = self.recovery.decisions.pop(0)
            if isinstance(decision, Connect):
                self.connected[decision.attempt] = decision.target.name
                self.recovery.accept(self.now, decision.attempt)
            elif isinstance(decision, Disconnect):
                self.closed.append(decision.attempt)
                del self.connected[decision.attempt]
        assert len(self.connected) <= 2, "at most one hedge at a time"

    def send(self, data, attempt):
        self.carry_out(self.recovery.receive_data(self.now, data, attempt))

    def fail(self, error, attempt):
        self.carry_out(self.recovery.fail(self.now, error, attempt))

    def until(self, now):
        while self.recovery.deadline <= now:
            self.now = max(self.now, self.recovery.deadline)
            self.carry_out(self.recovery.tick(self.now))
        self.now = now

    @property
    def outcome(self):
        return self.recovery.outcome


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_after_thirty_seconds_of_nothing_another_attempt_runs_beside_the_first(names):
    driver = Driver(*names)
    driver.until(29.9)
    assert driver.connected == {1: "a"}
    driver.until(30.0)
    assert driver.connected == {1: "a", 2: names[-1]}
    assert driver.closed == []


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_content_wins_and_the_other_is_let_go(winner):
    driver = Driver("a", "b")
    for attempt in (1, 2):
        driver.until(30.0 * attempt - 29.0)
        driver.until(30.0)
        driver.send(role(f"of {attempt}"), attempt)
    driver.send(word("Hello.", f"of {winner}"), winner)
    assert (driver.text, driver.closed) == ("Hello.", [3 - winner])
    driver.send(word(" lost", "late"), 3 - winner)
    driver.send(END, winner)
    assert (driver.text, driver.outcome) == ("Hello.", "completed")
    assert driver.recovery.attempts[winner - 1].cause is None


def test_seventy_five_seconds_of_processing_before_the_answer_are_one_request():
    driver = Driver()
    for second in range(75):
        driver.until(float(second))
        driver.send(b": processing\n\n", 1)
    driver.send(word("Hello.") + END, 1)
    assert (driver.outcome, driver.text, len(driver.recovery.attempts)) == ("completed", "Hello.", 1)


def test_bytes_without_content_buy_no_more_than_the_time_for_thinking():
    driver = Driver("a", "b")
    for second in range(300):
        driver.until(float(second))
        driver.send(b": processing\n\n", 1)
        assert driver.connected == {1: "a"}
    driver.until(300.0)
    assert driver.connected == {1: "a", 2: "b"}


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, 30.0),
        ({"reasoning_effort": "high"}, 300.0),
        ({"reasoning": {"effort": "low"}}, 300.0),
        ({"thinking": {"type": "enabled"}}, 300.0),
        ({"reasoning_effort": "none"}, 30.0),
        ({"reasoning_effort": "minimal"}, 30.0),
    ],
)
def test_who_asks_for_reasoning_is_given_time_for_it(fields, limit):
    driver = Driver("a", "b", **fields)
    driver.until(limit - 0.1)
    assert driver.connected == {1: "a"}
    driver.until(limit)
    assert len(driver.connected) == 2


def test_a_silence_in_the_middle_is_hedged_by_a_replay_and_ended_by_whichever_goes_on():
    driver = Driver("a", "b")
    driver.send(word("One "), 1)
    driver.send(word("two "), 1)
    driver.until(30.0)
    assert driver.connected == {1: "a", 2: "b"}
    assert driver.recovery.attempts[1].strategy == "replay"
    driver.send(word("One two "), 2)
    assert driver.text == "One two ", "what comes again is nothing new"
    assert len(driver.connected) == 2
    driver.send(word("three "), 1)
    assert (driver.text, driver.closed) == ("One two three ", [2])
    driver.send(word("four.") + END, 1)
    assert (driver.outcome, driver.text) == ("completed", "One two three four.")


def test_the_replay_may_win_and_is_continued_exactly():
    driver = Driver("a", "b")
    driver.send(role() + word("One "), 1)
    driver.until(30.0)
    driver.send(role("d") + word("One two ", "d"), 2)
    assert (driver.text, driver.closed) == ("One two ", [1])
    driver.send(word("three.", "d") + END, 2)
    assert (driver.outcome, driver.text) == ("completed", "One two three.")


def test_at_most_two_hedges_and_none_after_the_last():
    driver = Driver("a", "b", "c", "d")
    driver.until(30.0)
    driver.fail(TruncatedError("cut"), 2)
    assert sorted(driver.connected) == [1, 3]
    driver.fail(TruncatedError("cut"), 3)
    assert driver.connected == {1: "a"}
    driver.until(599.0)
    assert driver.connected == {1: "a"}
    driver.send(word("Hello.") + END, 1)
    assert (driver.outcome, driver.text) == ("completed", "Hello.")


def test_a_hedge_that_is_refused_leaves_the_first_attempt_alone():
    driver = Driver("a", "b")
    driver.until(30.0)
    driver.fail(StatusError("no", upstream_status=400), 2)
    assert driver.outcome is None
    driver.send(word("Hello.") + END, 1)
    assert (driver.outcome, driver.text) == ("completed", "Hello.")


def test_when_the_suspected_attempt_breaks_the_hedge_carries_on_alone():
    driver = Driver("a", "b")
    driver.until(30.0)
    driver.fail(ConnectError("gone"), 1)
    assert driver.connected == {2: "b"}
    driver.send(word("Hello.") + END, 2)
    assert (driver.outcome, driver.text) == ("completed", "Hello.")


def test_both_are_in_the_usage():
    driver = Driver("a", "b", stream_options={"include_usage": True})
    driver.send(word("One "), 1)
    driver.until(30.0)
    driver.send(word("One ") + word("two.") + END, 2)
    assert driver.recovery.usage["completion_tokens"] == 3
    assert [attempt.chunks for attempt in driver.recovery.attempts] == [1, 2]


def test_a_suspected_attempt_is_given_up_after_ten_minutes():
    driver = Driver(policy=Policy(backoff=0.0, attempts=1))
    driver.until(599.9)
    assert (driver.outcome, driver.connected) == (None, {1: "a"})
    driver.until(600.0)
    assert (driver.outcome, driver.recovery.error.code) == ("failed", "upstream-stalled-first-content")


@pytest.mark.parametrize("hedging", [True, False])
def test_without_hedges_another_attempt_takes_its_place(hedging):
    policy = Policy(backoff=0.0, hedge=False) if hedging else POLICY
    driver = Driver("a", "b", policy=policy, hedging=hedging)
    driver.until(30.0)
    assert (driver.connected, driver.closed) == ({2: "b"}, [1])


def test_the_last_one_that_may_be_asked_is_not_replaced():
    driver = Driver(hedging=False)
    driver.until(599.0)
    assert driver.connected == {3: "a"}
    driver.send(word("Hello.") + END, 3)
    assert (driver.outcome, driver.text) == ("completed", "Hello.")


def test_an_upstream_that_has_shown_to_be_slow_is_given_the_time_it_takes():
    driver = Driver()
    driver.until(25.0)
    driver.send(word("Hello.") + END, 1)
    assert driver.learned["a"].waits == [25.0]
    later = Recovery(
        request=ChatRequest({"model": "m", "stream": True, "messages": USER}),
        targets=driver.recovery.targets,
        seed=None,
        jitter=lambda: 0.0,
        experience=lambda target: driver.learned.setdefault(target.name, LearnedCapabilities()),
        breaker=Breaker(),
        hedging=True,
    )
    later.start(0.0)
    later.connected(0.0)
    assert later.deadline == 75.0


def test_a_silence_that_content_ended_is_remembered():
    driver = Driver()
    driver.send(word("One "), 1)
    driver.until(40.0)
    driver.send(word("two."), 1)
    assert driver.learned["a"].gaps == [40.0]


def test_what_loses_while_it_is_suspected_counts_against_its_upstream():
    driver = Driver("a", "b")
    driver.breaker = driver.recovery.breaker
    for _ in range(2):
        driver.breaker.failed(("a", "m"), 0.0)
    driver.until(30.0)
    driver.send(word("Hello."), 2)
    assert not driver.breaker.allows(("a", "m"), 30.0)


def test_a_tool_call_behind_text_may_take_its_time_too():
    class Pondering(Model):
        """Text, then 75 s of comments, then a call."""

        def steps(self, body):
            steps = super().steps(body)
            at = next(
                i for i, step in enumerate(steps) if isinstance(step, Send) and b"tool_calls" in step.data
            )
            pause = [step for _ in range(75) for step in (Wait(1.0), Send(b": processing\n\n"))]
            return [*steps[:at], *pause, *steps[at:]]

    answer = Answer("Let me look.", tool_calls=(ToolCall("f", '{"a": 1}'),))
    simulation = Simulation(Pondering(answer)).run()
    assert (simulation.outcome, len(simulation.recovery.attempts)) == ("completed", 1)


def test_one_report_for_an_attempt_that_is_gone_changes_nothing():
    driver = Driver("a", "b")
    driver.until(30.0)
    driver.send(word("Hello."), 2)
    for report in (
        lambda: driver.recovery.receive_data(31.0, word("late"), 1),
        lambda: driver.recovery.receive_eof(31.0, 1),
        lambda: driver.recovery.receive_non_streaming(31.0, b"{}", 1),
        lambda: driver.recovery.fail(31.0, ConnectError("late"), 1),
    ):
        assert report() == []
    assert (driver.recovery.state, driver.text) == (State.STREAMING, "Hello.")


def test_chunks_without_content_win_nothing():
    driver = Driver("a", "b")
    driver.send(role() + word("One "), 1)
    for second in range(1, 300):
        driver.until(float(second))
        driver.send(role(), 1)
    driver.until(300.0)
    assert driver.connected == {1: "a", 2: "b"}
    driver.send(role(), 1)
    assert driver.connected == {1: "a", 2: "b"}, "what it sends is no content"
    driver.send(word("One two.", "d") + END, 2)
    assert (driver.outcome, driver.text) == ("completed", "One two.")


def test_no_identity_is_shown_of_an_attempt_that_may_lose():
    driver = Driver("a", "b")
    driver.until(30.0)
    for _ in range(400):
        driver.send(role("of 1"), 1)
    assert driver.recovery.records == 0
    driver.send(role("of 2") + word("Hello.", "of 2") + END, 2)
    assert (driver.outcome, driver.text) == ("completed", "Hello.")


def test_pings_for_ever_are_given_up():
    class Pinging(Model):
        def steps(self, body):
            super().steps(body)
            return [Head(), Repeat((Wait(1.0), Send(b": ping\n\n")))]

    simulation = Simulation(Pinging(), policy=POLICY, truth="").run()
    assert simulation.error.code == "recovery-exhausted"
    assert simulation.causes == ["upstream-stalled-first-content"] * 3
