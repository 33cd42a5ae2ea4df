"""Every fault on the pure machine: on the first attempt and on every one, at every position, for each kind of upstream."""

from __future__ import annotations

from functools import partial

import pytest

from everytoken.errors import EverytokenError
from everytoken.sse import SSEDecoder
from everytoken.testing import FAULTS, Answer, Kind, huge_event
from everytoken.testing.plan import DONE, plan_answer
from simulation import Model, Simulation, request

ANSWER = Answer("Streaming 流式 👨‍👩‍👧 ha ha ha: repeated tokens are text.\n\nDone.")
DECLARED = {"prefill": "yes"}
ONLY_CONTINUES = Answer(ANSWER.content, deterministic=False)
# Upstreams that continue a prefill, or repeat themselves under a seed.
ABLE = {
    "continues, declared": (ANSWER, DECLARED),
    "repeats under a seed": (Answer(ANSWER.content, prefill="refuse", needs_seed=True), {}),
    "restarts": (Answer(ANSWER.content, prefill="restart"), {}),
}
# And those that are harder to go on with.
ALL = {
    **ABLE,
    "only continues": (ONLY_CONTINUES, {}),
    "takes no seed": (Answer(ANSWER.content, prefill="restart", needs_seed=True), {"seeds": False}),
}
FAULTS = {
    **FAULTS,
    "huge-event": huge_event(20_000),  # over the limit that is set below, in less time than 50 MB
}
del FAULTS["gzip"]  # undone before the machine sees it


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch):
    decoder = partial(SSEDecoder, max_line_bytes=10_000, max_event_bytes=10_000)
    monkeypatch.setattr("everytoken.recovery.live.SSEDecoder", decoder)


def of(kind):
    return [pytest.param(fault, id=name) for name, fault in FAULTS.items() if fault.kind is kind]


@pytest.mark.parametrize("fault", of(Kind.BROKEN))
def test_a_fault_of_the_first_attempt_alone_leaves_the_exact_text(fault):
    for position in fault.positions:
        for upstream, (answer, target) in ABLE.items():
            simulation = Simulation(Model(answer, [(0, fault, position)]), **target).run()
            got = (position, upstream, simulation.outcome, simulation.text)
            assert got == (position, upstream, "completed", answer.text)
            assert simulation.message["choices"][0]["finish_reason"] == "stop"
            assert len(simulation.recovery.attempts) > 1
            assert simulation.recovery.attempts[0].cause is not None


@pytest.mark.parametrize("fault", of(Kind.BROKEN))
def test_an_upstream_that_only_continues_finishes_its_answer(fault):
    for position in fault.positions:
        model = Model(ONLY_CONTINUES, [(0, fault, position)])
        if position in {
            "start",
            "one",
        }:  # the second answer is another one, but begins with all that was delivered
            simulation = Simulation(model, truth=ONLY_CONTINUES.variant(1).text).run()
            assert (position, simulation.outcome) == (position, "completed")
            continue
        # Nobody vouches for it, and what it says when asked to repeat is something else.
        simulation = Simulation(model).run()
        assert (position, simulation.outcome, simulation.text) == (position, "completed", ANSWER.text)
        assert simulation.strategies == ["first", "replay", "prefill"]
        assert simulation.causes[1] == "upstream-diverged"


@pytest.mark.parametrize("fault", of(Kind.BROKEN))
def test_a_fault_of_every_attempt_ends_in_the_exact_text_or_a_typed_error(fault):
    for position in fault.positions:
        for upstream, (answer, target) in ALL.items():
            simulation = Simulation(Model(answer, [("always", fault, position)]), truth="", **target).run()
            case = f"at {position}, {upstream}: {simulation.causes}"
            attempts = len(simulation.recovery.attempts)
            if simulation.outcome == "completed":
                texts = {answer.variant(n).text for n in range(attempts)}
                assert simulation.text in texts, case
            else:
                assert isinstance(simulation.error, EverytokenError), case
                assert simulation.outcome == ("interrupted" if simulation.text else "failed"), case
            assert attempts <= 5, case


@pytest.mark.parametrize("fault", of(Kind.REFUSED))
def test_a_refusal_is_told_at_once(fault):
    simulation = Simulation(Model(ANSWER, [("always", fault, "start")])).run()
    assert simulation.outcome == "failed"
    assert simulation.error.code == "upstream-status"
    assert simulation.error.status == int(fault.name.split("-")[1])
    assert len(simulation.recovery.attempts) == 1, "and costs one call"


@pytest.mark.parametrize("fault", of(Kind.HEALTHY))
def test_an_odd_stream_is_passed_on_untouched(fault):
    for position in fault.positions:
        model = Model(ANSWER, [("always", fault, position)])
        ask = request(seed=7, stream_options={"include_usage": True})
        simulation = Simulation(model, ask=ask, truth="").run()
        pieces = plan_answer(model.answer, model.bodies[0], number=0).pieces
        expected = [piece.removeprefix(b"data: ").removesuffix(b"\n\n") for piece in pieces if piece != DONE]
        assert simulation.outcome == "completed"
        assert [record.replace(b"{\n", b"{") for record in simulation.records] == expected
        assert len(simulation.recovery.attempts) == 1
