"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from everytoken.cli.durations import parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("1.5H", 5400),
        (" 30d ", 2_592_000),
        ("2w", 1_209_600),
        ("0", 0),
    ],
)
def test_a_length_of_time(text, seconds):
    assert parse(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1h", "1y", "1h30m", "soon", "1 h", "nan", "1e9"])
def test_anything_else_is_told(text):
    with pytest.raises(ValueError, match="not a length of time"):
        parse(text)
