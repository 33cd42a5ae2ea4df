"""What an answer has used, in words and as JSON."""

from __future__ import annotations

import json

import pytest

from everytoken.cli.figures import Figures, cost_of

USAGE = {"prompt_tokens": 10, "completion_tokens": 40}


def test_a_line_for_people():
    figures = Figures(model="m", outcome="completed", usage=USAGE, first=0.5, seconds=2.5, resumed=1)
    assert (
        figures.line()
        == "10 tokens in, 40 out · first token after 0.50 s · 20 tokens/s · 2.5 s · resumed 1 time"
    )
    figures.told = {"attempts": [{"cause": {"code": "upstream-truncated"}}, {"cause": None}], "cost": 0.25}
    assert figures.line().endswith("· $0.250000 · resumed 2 times")
    assert Figures(model="m", outcome="completed", seconds=1).line() == "tokens: not reported · 1.0 s"


def test_an_object_for_programs():
    told = {"attempts": [{"cause": {"code": "stalled"}}, {"cause": None}], "usage": USAGE, "cost": 1}
    figures = Figures(model="m", outcome="interrupted", answer="a", first=1, seconds=3, told=told)
    value = json.loads(figures.json("id"))
    assert value["usage"] == USAGE, "as the gateway counts it, for the stream had none"
    assert value["recovery"] == {"resumed": 0, "attempts": 2, "causes": ["stalled"]}
    assert value["times"] == {"first_token": 1, "total": 3, "tokens_per_second": 20}
    assert (value["cost"], value["conversation"], value["outcome"]) == (1, "id", "interrupted")


@pytest.mark.parametrize(
    ("model", "usage", "cost"),
    [
        ("m", None, None),
        ("a model that nobody knows", USAGE, None),
        ("m", {"cost": 0.5}, 0.5),
        ("gpt-4o", USAGE, pytest.approx((10 * 2.5 + 40 * 10) / 1e6)),
    ],
)
def test_the_price(model, usage, cost):
    assert cost_of(model, usage) == cost
