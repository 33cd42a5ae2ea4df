"""When a worker that has died is started again."""

from __future__ import annotations

import pytest

from everytoken.cli.workers.starting import Count, cores
from everytoken.cli.workers.supervisor import Restarts
from everytoken.cli.workers.worker import Place


def test_at_once_then_after_pauses_that_double_and_anew_after_one_that_lived():
    restarts = Restarts(first=0.5, longest=3.0, healthy=10.0)
    assert [restarts.pause(1.0) for _ in range(6)] == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert [restarts.pause(lived) for lived in (10.0, 9.9, 0.0)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("128", 128), ("auto", 0)])
def test_a_count_is_a_number_or_auto(text, count):
    assert Count().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["0", "-1", "129", "two", "1.5", "", "²"])
def test_anything_else_is_refused(text):
    with pytest.raises(Exception, match="neither 'auto' nor a number from 1 to 128"):
        Count().convert(text, None, None)


def test_there_is_a_core_at_least():
    assert cores() >= 1


def test_a_place_is_read_as_it_is_written():
    place = Place(2, 7, 9)
    assert Place.parse(str(place)) == place
    with pytest.raises(ValueError, match="unpack"):
        Place.parse("1:2")
