"""What is said of a response's attempts; conversation/test_loop.py sees it on a screen."""

from __future__ import annotations

import pytest

from everytoken.cli.watching import trouble

CUT = {"number": 1, "upstream": "a", "cause": {"code": "upstream-truncated"}}
SLOW = {"number": 1, "upstream": "a", "cause": None}
SECOND = {"number": 2, "upstream": "a", "cause": None}
ELSEWHERE = {"number": 2, "upstream": "b", "cause": None}


@pytest.mark.parametrize(
    ("attempts", "words"),
    [
        ([], ""),
        ([SLOW], ""),
        ([CUT, SECOND], "the provider was cut (upstream-truncated): attempt 2"),
        ([CUT, ELSEWHERE], "the provider was cut (upstream-truncated): attempt 2 at b"),
        ([SLOW, ELSEWHERE], "the provider is silent: attempt 2 runs beside it"),
    ],
)
def test_the_words(attempts, words):
    assert trouble(attempts) == words
