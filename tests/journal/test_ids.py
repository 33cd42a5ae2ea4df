"""Names of responses."""

from __future__ import annotations

from everytoken.journal.ids import given_at, new_stream_id


def test_the_name_of_a_response_cannot_be_guessed_and_says_when_it_was_given() -> None:
    names = {new_stream_id(1.9e9) for _ in range(1000)}
    assert len({name[9:] for name in names}) == 1000
    assert {given_at(name) for name in names} == {1_900_000_000}
    bits = [int(name[9:], 16) for name in names]
    assert all(len(name[9:]) * 4 == 128 for name in names)
    for place in range(128):
        assert 350 < sum(one >> place & 1 for one in bits) < 650, "every bit of them is random"
    assert given_at("s") is None
    assert given_at("da39a3ee5e6b4b0d3255bfef95601890afd80709") is None
