"""The example of a configuration, and the schema for editors: complete, and right."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest

from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.checking.problem import Found
from everytoken.gateway.checking.tables import checked
from everytoken.gateway.config import BreakerConfig, parse
from everytoken.gateway.example import example, shown
from everytoken.gateway.meanings import MEANINGS
from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.recovery import Policy

KINDS = (Config, Policy, BreakerConfig, UpstreamConfig, PriceConfig, LimitsConfig, Rates)


def test_what_is_set_in_the_example_is_the_default():
    config = parse(example(), {}, where="example")
    [upstream] = config.upstream
    assert msgspec.structs.replace(config, upstream=[]) == Config()
    assert upstream == UpstreamConfig(name="local", url=upstream.url)


def test_what_is_not_set_in_it_would_be_right_too_and_nothing_is_left_out():
    text = re.sub(r"^#(?! |\n)", "", example(), flags=re.MULTILINE)
    values = tomllib.loads(text)
    found = Found("example", {})
    assert checked(found, values, Config) is not None
    assert found.problems == []
    assert set(values) == set(Config.__struct_fields__)
    assert set(values["policy"]) == set(Policy.__struct_fields__)
    assert set(values["breaker"]) == set(BreakerConfig.__struct_fields__)
    assert set(values["upstream"][0]) == set(UpstreamConfig.__struct_fields__)
    assert set(values["limits"]) == set(LimitsConfig.__struct_fields__)
    assert set(values["prices"]["my-model"]) == set(PriceConfig.__struct_fields__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_meaning(kind):
    assert list(MEANINGS[kind.__name__]) == list(kind.__struct_fields__)
    assert all(MEANINGS[kind.__name__].values())


def test_what_is_shown_is_a_configuration_with_every_setting():
    text = """
[limits.each_key]
running = 2
[limits.models."a b"]
running = 3
[prices.m]
input = 1
output = 2
[[upstream]]
url = "http://x"
"""
    config = parse(text, {}, where="x")
    told = shown(config, {})
    assert parse(told, {}, where="x") == config
