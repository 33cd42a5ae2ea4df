"""How much of what was delivered a continuation has to repeat."""

from __future__ import annotations

import pytest

from delivered import chunk, delivered


def test_the_overlap_ends_where_a_piece_ended():
    transcript = delivered(
        *(chunk({"content": piece}) for piece in ["Streaming", " sends", " each", " token", "."])
    )
    assert transcript.overlap(12, 3) == (12, 3)
    assert transcript.overlap(7, 3) == (7, 2)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(["abcdefgh"], (4, 0), id="of a text in one piece, half"),
        pytest.param(["abc", "def"], (3, 1), id="never the whole text"),
        pytest.param(["ab"], (0, 0), id="nothing where it could come back by chance"),
        pytest.param(["x"] * 100, (12, 12), id="of many small pieces, as much as is wanted"),
    ],
)
def test_the_overlap_of_short_texts(pieces, expected):
    assert delivered(*(chunk({"content": piece}) for piece in pieces)).overlap(12, 3) == expected
