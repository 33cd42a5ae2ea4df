"""The count of the demo: what it takes for exact, and what it does not."""

from __future__ import annotations

import pytest

from everytoken.cli.demo.proof import Kill, proved
from everytoken.cli.demo.reading import Record

STORED = [
    Record("1", "head", ""),
    Record("2", "a", "One "),
    Record("3", "b", "two"),
    Record("4", "c", " two"),
    Record("5", "end", ""),
]
OTHER = Record("3", "b", "2")
FRESH = [Record(record.offset, f"{record.data}'", record.text) for record in STORED]


def count(received=STORED, stored=STORED, uninterrupted=FRESH, *, complete=True, kills=1):
    done = [Kill(pid, 2) for pid in range(kills)]
    return proved(received, stored, uninterrupted, complete=complete, kills=done)


def test_what_came_exactly_as_it_is_stored_is_exact():
    proof = count()
    assert proof.exact
    assert proof.sentence == "3 tokens, 0 lost, 0 doubled, order kept"
    assert proof.size == len("One two two")


CASES = {
    "a token is missing": ([*STORED[:2], *STORED[3:]], {"lost": 1, "equals_journal": False}),
    "a token came twice": ([*STORED[:3], *STORED[2:]], {"doubled": 1, "in_order": False}),
    "two came in another order": (
        [*STORED[:2], STORED[3], STORED[2], STORED[4]],
        {"lost": 0, "doubled": 0, "in_order": False, "equals_journal": False},
    ),
    "one came that is not stored": ([Record("0", "x", "x"), *STORED], {"lost": 0, "equals_journal": False}),
    "one has another text": (
        [*STORED[:2], OTHER, *STORED[3:]],
        {"lost": 0, "equals_journal": True, "equals_uninterrupted": False},
    ),
    "one has other data": (
        [*STORED[:2], Record("3", "b'", "two"), *STORED[3:]],
        {"equals_journal": False, "equals_uninterrupted": True},
    ),
    "nothing came": ([], {"tokens": 0, "lost": 3}),
}


@pytest.mark.parametrize(("received", "expected"), CASES.values(), ids=CASES)
def test_what_differs_is_not_exact(received, expected):
    proof = count(received)
    assert not proof.exact
    assert {name: getattr(proof, name) for name in expected} == expected


def test_an_answer_that_differs_without_a_kill_is_not_exact():
    assert not count(uninterrupted=FRESH[:-2]).exact


def test_an_answer_without_an_end_is_not_exact():
    assert not count(complete=False).exact


def test_without_a_kill_nothing_is_proved():
    assert not count(kills=0).exact


def test_json_says_all_of_it():
    told = count(kills=2).as_json()
    assert (told["exact"], told["tokens"], told["lost"], told["doubled"]) == (True, 3, 0, 0)
    assert [kill["after_tokens"] for kill in told["kills"]] == [2, 2]
