"""Which models an answer is of: who may continue what another model has written, and how that is told."""

from __future__ import annotations

import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.dialects.registry import dialect_named
from everytoken.errors import NodeLostError
from everytoken.recovery import LearnedCapabilities, Policy, Recovery, Target
from everytoken.recovery.authors import Author, is_same, names_of, reported_in, with_author
from everytoken.recovery.breaker import Breaker
from everytoken.testing import Answer
from simulation import Model, Simulation, request

TEXT = "Streaming sends each token as soon as it exists, one after the other."
EXACT, CONTINUE = Policy(), Policy(failover="continue")


class Named(Model):
    """Reports another name for its model than it is asked for; one that is `moody` continues, but repeats nothing."""

    reports: str | None = None
    moody = False

    def _variant(self, number, body):
        given = body["messages"][-1]["role"] == "assistant"
        return 1 if self.moody and not given else super()._variant(number, body)

    def steps(self, body):
        steps = super().steps(body)
        if self.reports is not None and isinstance(steps, list):
            asked, reported = f'"model":"{body["model"]}"'.encode(), f'"model":"{self.reports}"'.encode()
            for number, step in enumerate(steps):
                if hasattr(step, "data"):
                    steps[number] = type(step)(step.data.replace(asked, reported))
        return steps


def model(name, faults=(), *, reports=None, moody=False, **answer):
    made = Named(Answer(TEXT, **answer), faults, name)
    made.reports, made.moody = reports, moody
    return made


def cut(**fields):
    """Return a first upstream that says something, and nothing more."""
    return model("a", [("always", "close", 5)], **fields)


def other(**fields):
    """Return a second one that would write something else, but continues what it is given."""
    return model("b", moody=True, **fields)


TWO = {"a": {"model": "gpt"}, "b": {"model": "claude"}}


def attempts_of(simulation):
    return [one.describe(0.0) for one in simulation.recovery.attempts]


def marks(simulation):
    return [one.get("continues") for one in attempts_of(simulation)]


@pytest.mark.parametrize("prefill", ["auto", "yes"])
def test_by_default_another_model_does_not_continue(prefill):
    simulation = Simulation(cut(prefill="refuse"), other(), own=TWO, prefill=prefill).run()
    assert simulation.outcome == "interrupted"
    assert TEXT.startswith(simulation.text)
    there = [one for one in attempts_of(simulation) if one["upstream"] == "b"]
    assert {one["strategy"] for one in there} == {"replay"}
    assert marks(simulation) == [None] * len(simulation.recovery.attempts)


def test_another_model_may_repeat_and_go_on():
    simulation = Simulation(cut(prefill="refuse"), model("b"), own=TWO).run()
    assert simulation.outcome == "completed"
    assert simulation.text == TEXT
    assert set(marks(simulation)) == {None}


@pytest.mark.parametrize("prefill", ["auto", "yes"])
def test_where_it_is_allowed_another_model_continues_and_is_marked(prefill):
    simulation = Simulation(cut(prefill="refuse"), other(), own=TWO, prefill=prefill, policy=CONTINUE).run()
    assert simulation.text == TEXT
    last = simulation.connected[-1]
    given = last.body["messages"][-1]["content"]
    delivered = "".join(Answer(TEXT).tokens[:5])
    assert delivered.startswith(given)
    assert given != delivered, "the seam is proved, whatever is said of the upstream"
    assert marks(simulation)[-1] == "gpt"
    assert set(marks(simulation)[:-1]) == {None}


def test_one_that_does_not_give_the_overlap_back_continues_nothing():
    simulation = Simulation(
        cut(prefill="refuse"), other(prefill="restart"), own=TWO, policy=CONTINUE, truth=""
    ).run()
    # It restarts, which is a repetition: exact, and no mixture.
    assert (simulation.outcome, simulation.text) == ("completed", TEXT)
    assert marks(simulation)[-1] is None
    strange = Simulation(
        cut(prefill="refuse"), Named(Answer("Quite another text, and long enough."), (), "b"),
        own=TWO, policy=CONTINUE,
    ).run()  # fmt: skip
    assert strange.outcome == "interrupted"
    assert TEXT.startswith(strange.text)
    assert set(marks(strange)) == {None}


def test_one_upstream_may_be_allowed_what_others_are_not():
    own = {**TWO, "b": {"model": "claude", "policy": CONTINUE}}
    assert Simulation(cut(prefill="refuse"), other(), own=own).run().text == TEXT
    own = {"a": {"model": "gpt", "policy": CONTINUE}, "b": {"model": "claude", "policy": EXACT}}
    assert Simulation(cut(prefill="refuse"), other(), own=own).run().outcome == "interrupted"


@pytest.mark.parametrize(
    "names", [{}, {"a": {"model": "x"}, "b": {"model": "x"}}], ids=["the caller's", "theirs"]
)
def test_the_same_model_elsewhere_continues(names):
    simulation = Simulation(cut(prefill="refuse"), other(), own=names).run()
    assert simulation.text == TEXT
    assert set(marks(simulation)) == {None}


def test_the_name_that_was_reported_is_the_same_model():
    own = {"a": {"model": "gpt"}, "b": {"model": "gpt-0613"}}
    assert Simulation(cut(prefill="refuse", reports="gpt-0613"), other(), own=own).run().text == TEXT


@pytest.mark.parametrize("prefill", ["auto", "yes"])
def test_what_reports_another_model_is_another_whatever_it_was_asked_for(prefill):
    models = cut(prefill="refuse", reports="gpt-0613"), other(reports="tiny.gguf")
    simulation = Simulation(*models, prefill=prefill).run()
    assert simulation.outcome == "interrupted"
    assert TEXT.startswith(simulation.text)
    causes = [str(one.cause) for one in simulation.recovery.attempts]
    assert any("the model tiny.gguf, the text before it by gpt-0613" in cause for cause in causes)
    models = cut(prefill="refuse", reports="gpt-0613"), other(reports="tiny.gguf")
    simulation = Simulation(*models, prefill=prefill, policy=CONTINUE).run()
    assert simulation.text == TEXT
    assert marks(simulation)[-1] == "gpt-0613"


def test_the_same_upstream_that_changes_its_model_is_no_exception():
    class Router(Named):
        def steps(self, body):
            self.reports = ("one", "two")[bool(self.bodies)]
            return super().steps(body)

    for policy, outcome in ((EXACT, "interrupted"), (CONTINUE, "completed")):
        router = Router(Answer(TEXT, deterministic=False), [(0, "close", 5)], "a")
        simulation = Simulation(router, prefill="yes", policy=policy, truth="").run()
        assert simulation.outcome == outcome
        if outcome == "completed":
            assert marks(simulation)[-1] == "one"


def test_an_answer_of_several_models_is_continued_by_either_only_where_that_is_allowed():
    second = model("b", [("always", "close", 8)], moody=True)
    third = model("c", moody=True)
    own = {**TWO, "b": {"model": "claude", "policy": CONTINUE}, "c": {"model": "gpt", "policy": EXACT}}
    simulation = Simulation(cut(prefill="refuse"), second, third, own=own).run()
    assert simulation.outcome == "interrupted", "the text is of two models by now"


def test_a_repetition_makes_the_whole_text_that_models():
    class Once(Named):
        """Repeats the first time; afterwards it only continues."""

        def _variant(self, number, body):
            return 1 if number and body["messages"][-1]["role"] == "user" else 0

    second = Once(Answer(TEXT), [(0, "close", 9)], "b")
    simulation = Simulation(cut(prefill="refuse"), second, own=TWO).run()
    assert simulation.text == TEXT
    last = attempts_of(simulation)[-1]
    assert (last["upstream"], last["strategy"]) == ("b", "prefill")
    assert set(marks(simulation)) == {None}


CHAT = dialect_named("openai-chat")
RECORD = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"%b","choices":[{"index":0,"delta":{"content":"Streaming sends"}}]}'


@pytest.mark.parametrize(
    ("names", "reported", "strategies"),
    [
        ([None, None], b"whatever", ["replay", "prefill"]),
        (["gpt", "gpt"], b"gpt", ["replay", "prefill"]),
        (["gpt-0613", "claude"], b"gpt-0613", ["replay", "prefill"]),
        (["gpt", "claude"], b"gpt-0613", ["replay"]),
        (["gpt", "claude"], b"", ["replay"]),
    ],
)
def test_after_a_takeover_the_records_tell_what_they_can(names, reported, strategies):
    recovery = Recovery(
        request=ChatRequest(request().body),
        targets=[Target(name=f"u{n}", model=name, prefill="yes") for n, name in enumerate(names)],
        seed=None,
        jitter=lambda: 0.5,
        experience=lambda _: LearnedCapabilities(),
        breaker=Breaker(),
    )
    recovery.resume(0.0, [RECORD % reported], NodeLostError("gone"))
    planner = recovery._planner
    assert set(planner._strategies(planner.targets[0], streamed=True, first=False)) == set(strategies)


@pytest.mark.parametrize(
    ("known", "new", "same"),
    [
        (Author("m"), Author("m"), True),
        (Author(""), Author(""), True),
        (Author("m"), Author("n"), False),
        (Author("m", "m-1"), Author("m", "m-1"), True),
        (Author("m", "m-1"), Author("m", "m-2"), False),
        (Author("m", "m-1"), Author("m-1"), True),
        (Author("m", "m-1"), Author("m-1", "m-1"), True),
        (Author("m", "m-1"), Author("m-2", "m-2"), False),
        (Author("m", "m"), Author("m", "m-1"), True),  # the first only says what it was asked
        (Author("m", "m-1"), Author("m", "m"), True),
        (Author("m", "m-1"), Author("m"), True),
        (Author(None, "m"), Author("m"), True),
        (Author(None, "m-1"), Author("m"), False),
        (Author(None), Author("m"), False),
        (Author(None), Author(""), False),
    ],
)
def test_when_two_names_are_the_same_model(known, new, same):
    assert is_same((known,), new) is same


def test_nobody_is_the_same_as_nobody():
    assert not is_same((), Author("m"))
    assert names_of(()) == "unknown"
    assert names_of((Author("a", "a-1"), Author("b"), Author(None))) == "a-1, b, unknown"


def test_who_shares_a_text():
    one, two = Author("a"), Author("b")
    assert with_author((), one, continued=False) == (one,)
    assert with_author((one,), two, continued=False) == (two,)
    assert with_author((one,), two, continued=True) == (one, two)
    assert with_author((one, two), two, continued=True) == (one, two)


@pytest.mark.parametrize(
    ("dialect", "record"),
    [
        ("openai-chat", b'{"model":"x","choices":[]}'),
        ("anthropic-messages", b'{"type":"message_start","message":{"model":"x"}}'),
    ],
)
def test_where_an_api_names_its_model(dialect, record):
    found = dialect_named(dialect)
    assert reported_in(found, record) == "x"
    assert reported_in(found, record.replace(b'"x"', b"7")) == ""
    assert reported_in(found, b'{"type":"ping"}') == ""
    assert reported_in(found, None) == ""


def test_a_dialect_that_cannot_tell_is_no_error():
    assert reported_in(dialect_named("openai-responses"), b"{}") == ""
