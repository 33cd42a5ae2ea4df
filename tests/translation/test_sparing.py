"""A translated request without what an upstream has refused."""

from __future__ import annotations

import pytest

from everytoken.translation.sparing import SPARED, spare

FULL = {
    "model": "m",
    "temperature": 1,
    "max_tokens": 5,
    "text": {"verbosity": "low", "format": {"type": "text"}},
    "output_config": {"effort": "low"},
}


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        ([], FULL),
        (["top_p", "text.else"], FULL),
        (["temperature"], {name: value for name, value in FULL.items() if name != "temperature"}),
        (["text.verbosity"], {**FULL, "text": {"format": {"type": "text"}}}),
        (["output_config.effort"], {name: value for name, value in FULL.items() if name != "output_config"}),
    ],
)
def test_a_field_is_left_out_and_nothing_else(paths, left):
    body = dict(FULL)
    assert spare(body, paths) == left
    assert body == FULL


def test_the_limit_of_tokens_is_never_left_out():
    assert spare({"max_tokens": 5}, SPARED["openai-chat"]) == {"max_completion_tokens": 5}
