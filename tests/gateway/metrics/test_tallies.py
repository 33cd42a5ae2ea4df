"""Counts and distributions by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.gateway.metrics.tallies import Count, Distribution


def test_a_count_without_labels_is_there_from_the_beginning():
    count = Count("a", "")
    assert count.values == {(): 0}
    count.add()
    count.add(by=2)
    assert count.values == {(): 3}


def test_a_count_has_a_number_for_each_set_of_labels():
    count = Count("a", "", ("x", "y"))
    count.begin("1", "2")
    count.add("1", "2")
    count.begin("1", "2")
    count.add("1", "3", by=5)
    assert count.values == {("1", "2"): 1, ("1", "3"): 5}


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0.5, [1, 1, 1]), (1.0, [1, 1, 1]), (1.1, [0, 1, 1]), (2.0, [0, 1, 1]), (9.0, [0, 0, 1])],
)
def test_a_value_is_in_every_bucket_that_it_does_not_exceed(value, counts):
    found = Distribution("a", "", ("x",), bounds=(1, 2))
    found.observe(value, "k")
    assert found.cumulated(("k",)) == (list(zip(["1.0", "2.0", "+Inf"], counts, strict=True)), value)


@given(st.lists(st.floats(0, 4) | st.sampled_from([1.0, 2.0])))
def test_many_at_once_are_recorded_as_one_by_one(values):
    at_once, singly = (Distribution("a", "", ("x",), bounds=(1, 2)) for _ in range(2))
    at_once.observe_all(values, "k")
    for value in values:
        singly.observe(value, "k")
    if values:
        *counts, total = at_once.rows["k",]
        *due, sum_due = singly.rows["k",]
        assert (counts, total) == (due, pytest.approx(sum_due))
