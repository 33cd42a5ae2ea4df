"""Which upstream is asked first: by order, speed, weight or cost, and where the conversation is."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from everytoken.recovery import LearnedCapabilities, Router, Target, conversation_of


class Field:
    """Some upstreams, what is known of them, and who is well."""

    def __init__(self, route, *targets, seed=1):
        self.router = Router(route)
        self.targets = targets
        self.learned = {target.name: LearnedCapabilities() for target in targets}
        self.down = set()
        self.random = random.Random(seed)  # not for secrets

    def first(self, now=0.0, conversation="", chance=None):
        order = self.router.order(
            self.targets,
            model="m",
            conversation=conversation,
            now=now,
            chance=self.random.random() if chance is None else chance,
            learned=lambda target: self.learned[target.name],
            is_well=lambda target: target.name not in self.down,
        )
        assert sorted(target.name for target in order) == sorted(target.name for target in self.targets)
        return order[0].name


ABC = [Target(name=name) for name in "abc"]


def test_the_default_is_the_order_of_the_list():
    field = Field("order", *ABC)
    assert {field.first() for _ in range(20)} == {"a"}


def test_weights_are_shares():
    field = Field("weighted", Target(name="a", weight=3), Target(name="b", weight=1))
    asked = Counter(field.first() for _ in range(4000))
    assert 0.70 < asked["a"] / 4000 < 0.80


def test_the_cheapest_is_asked_first():
    field = Field("cheapest", Target(name="a", cost=3), Target(name="b", cost=1), Target(name="c", cost=2))
    assert field.first() == "b"


def speeds(now):
    """Three upstreams whose speeds change: who is the fastest does three times in an hour, and all of them waver."""
    phase = int(now // 1200) % 3
    base = [(0.3, 0.9, 1.5), (1.2, 0.35, 0.8), (2.0, 1.1, 0.4)][phase]
    return dict(zip("abc", base, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_the_fastest_is_within_ten_percent_of_an_oracle_although_speeds_change(seed):
    field = Field("fastest", *ABC, seed=seed)
    total = best = 0.0
    changes, last = 0, ""
    for number in range(7200):
        now = number * 0.5
        times = speeds(now)
        name = field.first(now)
        time = times[name] * field.random.uniform(0.8, 1.25)
        field.learned[name].has_answered(time, now)
        total += time
        best += min(times.values())
        changes += name != last
        last = name
    assert total <= 1.1 * best
    assert changes < 400, "two for each response that explores"


def test_it_does_not_flap_between_equals():
    field = Field("fastest", *ABC)
    for target in ABC:
        field.learned[target.name].has_answered(1.0, 0.0)
    asked = []
    for number in range(200):
        name = field.first(float(number), chance=0.5)
        field.learned[name].has_answered(field.random.uniform(0.9, 1.1), float(number))
        asked.append(name)
    assert len(set(asked)) == 1


def test_tokens_per_second_count_too():
    field = Field("fastest", *ABC[:2])
    for name, first, rate in (("a", 0.2, 10), ("b", 0.6, 200)):
        field.learned[name].has_answered(first, 0.0)
        field.learned[name].has_sent(101, 100 / rate)
    assert field.first(chance=0.5) == "b"


@pytest.mark.parametrize("route", ["fastest", "weighted", "cheapest"])
def test_a_conversation_stays_where_its_prompt_is_cached_while_that_upstream_is_well(route):
    field = Field(route, *ABC)
    for target, time in zip(ABC, (0.5, 1.0, 2.0), strict=True):
        field.learned[target.name].has_answered(time, 0.0)
    home = field.first(conversation="one", chance=0.5)
    for name in "abc":
        field.learned[name].has_answered(0.01 if name != home else 5.0, 1.0)
    assert {field.first(conversation="one") for _ in range(50)} == {home}
    field.down.add(home)
    assert field.first(conversation="one") != home


def test_an_upstream_that_is_not_well_is_not_the_fastest():
    field = Field("fastest", *ABC)
    for target, time in zip(ABC, (0.1, 1.0, 2.0), strict=True):
        field.learned[target.name].has_answered(time, 0.0)
    field.down.add("a")
    assert field.first(chance=0.5) == "b"


def test_no_more_conversations_are_remembered_than_there_is_room_for():
    field = Field("weighted", *ABC)
    for number in range(11_000):
        field.first(conversation=str(number))
    assert len(field.router._homes) == 10_000


@pytest.mark.parametrize(
    ("turns", "same"),
    [
        (({"role": "user", "content": "Hi"},), True),
        (
            (
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "And?"},
            ),
            True,
        ),
        (({"role": "user", "content": "Hey"},), False),
        (({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}), False),
    ],
)
def test_turns_of_one_conversation_are_known_by_its_beginning(turns, same):
    first = conversation_of([{"role": "user", "content": "Hi"}])
    assert (conversation_of(list(turns)) == first) is same


@pytest.mark.parametrize(
    "messages", [None, [], "no list", [1, None], [{"role": "user", "content": "\ud83d"}]]
)
def test_odd_messages_do_no_harm(messages):
    assert isinstance(conversation_of(messages), str)
