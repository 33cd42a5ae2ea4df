"""Gaps between pieces, in memory that does not grow."""

from __future__ import annotations

import random
import sys
from statistics import median

import pytest

from everytoken.relay.gaps import Gaps


def gaps_of(values, start=1000.0):
    gaps = Gaps()
    now = start
    gaps.note(now)
    for value in values:
        now += value
        gaps.note(now)
    return gaps


@pytest.mark.parametrize("start", [0.0, 5.0, 1e6])
def test_fewer_than_two_pieces_have_no_gap(start):
    gaps = Gaps()
    assert (gaps.median, gaps.longest) == (None, 0.0)
    gaps.note(start)
    assert (gaps.median, gaps.longest) == (None, 0.0)


@pytest.mark.parametrize("size", [0.0003, 0.001, 0.02, 0.05, 0.5, 3.0, 100.0])
def test_the_median_is_right_within_a_fifth(size):
    gaps = gaps_of([size * (0.5 + random.Random(n).random()) for n in range(1001)])
    values = [size * (0.5 + random.Random(n).random()) for n in range(1001)]
    assert gaps.median == pytest.approx(median(values), rel=0.2)
    assert gaps.longest == pytest.approx(max(values), rel=1e-3)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-4, 1e9])
def test_odd_gaps_are_counted_at_the_ends(size):
    gaps = gaps_of([size] * 3, start=1.0)
    assert gaps.median is not None
    assert 0 <= gaps.median <= max(gaps.longest, 1e-4)


def test_it_takes_the_same_memory_for_any_number():
    few, many = gaps_of([0.02] * 10), gaps_of([0.02] * 10_000)
    for gaps in (few, many):
        gaps.fold()
        assert len(gaps._times) == 1
    assert sys.getsizeof(few._counts) == sys.getsizeof(many._counts)


def test_counting_now_and_then_is_counting_at_the_end():
    values = [random.Random(7).random() for _ in range(100)]
    gaps, now = Gaps(), 5.0
    gaps.note(now)
    for value in values:
        now += value
        gaps.note(now)
        if value < 0.3:
            gaps.fold()
    whole = gaps_of(values, start=5.0)
    assert (gaps.median, gaps.longest) == (whole.median, whole.longest)
