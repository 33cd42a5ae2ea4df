"""A usage that is estimated."""

from __future__ import annotations

from everytoken.dialects.openai_chat import usage_estimate


def test_a_usage_estimate_says_that_it_is_one():
    assert usage_estimate(7, prompt_tokens=3) == {
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "total_tokens": 10,
        "estimated": True,
    }
