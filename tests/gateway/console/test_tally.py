"""Numbers of entries whose sums are known."""

from __future__ import annotations

import json

import pytest

from everytoken.gateway.console.tally import REST, Tally


def entry(at, seconds=1.0, outcome="completed", **more):
    return json.dumps({"at": at, "response": "r", "outcome": outcome, "seconds": seconds, **more}).encode()


def shown(*entries, seconds=60.0):
    tally = Tally(seconds)
    tally.add(entries)
    return {number * seconds: step.shown() for number, step in tally.steps.items()}


def test_a_response_counts_where_it_began_and_where_it_ended():
    steps = shown(entry(10.0, 100.0), entry(110.0, 5.0, "interrupted", error="not-continuable"))
    assert steps[0]["begun"] == 1
    assert steps[0]["ended"] == 0
    assert steps[60]["begun"] == 1
    assert steps[60]["ended"] == 2
    assert steps[60]["outcomes"] == {"completed": 1, "interrupted": 1}


def test_a_refusal_is_no_response():
    steps = shown(entry(1.0, 0.0, "refused", response=None, error="invalid-request", key="ci"))
    assert steps[0] | {"outcomes": {"refused": 1}, "begun": 0, "ended": 0} == steps[0]


def test_tokens_and_cost_are_summed_and_what_has_no_price_is_said():
    steps = shown(
        entry(1.0, tokens={"input": 10, "output": 5, "cached": 3}, cost=0.25),
        entry(2.0, tokens={"input": 1, "output": 2}, cost=None),
        entry(3.0, tokens=None),
    )
    one = steps[0]
    assert (one["tokens"], one["cost"], one["unpriced"]) == ({"input": 11, "output": 7}, 0.25, 1)


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [
        ([], None, None),
        ([0.25], 0.25, 0.25),
        ([0.1, 0.2, 0.3], 0.2, 0.3),
        ([n / 100 for n in range(1, 101)], 0.5, 0.95),
        ([0.0, 12.3456], 0.0, 12.3),
        ([0.00123456, None], 0.00123, 0.00123),
    ],
)
def test_percentiles_are_those_at_the_nearest_rank_with_three_digits(values, p50, p95):
    steps = shown(*(entry(1.0, first_content=value, gap_longest=value) for value in values), entry(1.0))
    assert steps[0]["first_content"] == steps[0]["gap_longest"] == {"p50": p50, "p95": p95}


def test_steps_are_counted_by_cause_upstream_model_and_key():
    tally = Tally(60.0)
    told = [
        {"upstream": "a", "cause": {"code": "upstream-truncated", "message": "x"}},
        {"upstream": "b", "cause": None},
        {"upstream": "b", "cause": {"code": "cancelled"}},
    ]
    tally.add(
        [
            entry(
                1.0, attempts=told, model="m", key="ci", error="x", cost=0.5, tokens={"input": 1, "output": 2}
            )
        ]
    )
    tally.add([entry(2.0, outcome="failed", model="n", key="ci", error="x")])
    tally.add([entry(2.0, 0.0, "refused", response=None, key="ci", error="y")])
    (step,) = tally.steps.values()
    assert step.attempts == {("a", "upstream-truncated"): 1, ("b", None): 1, ("b", "cancelled"): 1}
    assert {code: one.count for code, one in step.by("error").items()} == {"x": 2, "y": 1}
    assert {name: (one.count, one.input, one.output) for name, one in step.by("key").items()} == {
        "ci": (2, 1, 2)
    }
    assert list(step.by("model")) == ["m", "n"]
    assert step.completed("key") == {"ci": 1}


def test_names_that_callers_choose_have_a_limit():
    tally = Tally(60.0)
    tally.add(entry(1.0, model=f"m{number}") for number in range(5000))
    (step,) = tally.steps.values()
    assert len(step.ended) == 2001
    assert step.by("model")[REST].count == 3000


def test_what_is_no_entry_is_left_out():
    assert shown(b"{", b'{"at": "x"}', b"\xff", entry(1.0))[0]["ended"] == 1
