"""Wrong keys cost their address time, and nobody else."""

from __future__ import annotations

from everytoken.gateway.keys.slowing import Slowing


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_the_first_few_cost_nothing_and_then_each_costs_twice_the_last_up_to_a_limit():
    slowing = Slowing(Clock())
    assert [round(slowing.note("a"), 1) for _ in range(12)] == [
        0,
        0,
        0,
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        5,
        5,
        5,
    ]


def test_each_address_counts_for_itself():
    slowing = Slowing(Clock())
    for _ in range(10):
        slowing.note("a")
    assert slowing.note("b") == 0


def test_after_a_minute_of_quiet_all_is_forgotten():
    clock = Clock()
    slowing = Slowing(clock)
    for _ in range(10):
        slowing.note("a")
    clock.at += 59
    assert slowing.note("a") == 5
    clock.at += 61
    assert slowing.note("a") == 0


def test_so_many_of_one_address_wait_and_no_more():
    slowing = Slowing(Clock())
    assert [slowing.begin("a") for _ in range(17)] == [False] * 16 + [True]
    assert not slowing.begin("b")
    slowing.end("a")
    assert not slowing.begin("a")
    for _ in range(16):
        slowing.end("a")
    assert slowing._waiting == {"b": 1}


def test_what_is_remembered_of_addresses_is_limited():
    slowing = Slowing(Clock())
    for number in range(10_000):
        slowing.note(str(number))
    assert len(slowing._wrong) == 4096
    assert slowing.note("0") == 0
