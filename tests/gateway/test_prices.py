"""What usage costs: configured, listed, or not known."""

from __future__ import annotations

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway.config import parse
from everytoken.gateway.prices import PriceConfig, Prices, tokens_in
from everytoken.translation.events import Usage

USAGE = Usage(prompt=1000, answer=500)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (USAGE, 0.002),
        (Usage(prompt=1000, answer=500, cached=400), 0.00164),
        (Usage(prompt=1000, answer=500, written=400), 0.002),
        (Usage(prompt=1000, answer=500, cached=2000), 0.0012),
        (Usage(prompt=None, answer=500), None),
        (None, None),
    ],
)
def test_a_configured_price(usage, cost):
    prices = Prices({"m": PriceConfig(input=1.0, output=2.0, cached=0.1)})
    assert prices.of(usage, "m") == (None if cost is None else pytest.approx(cost))


def test_a_price_that_is_not_known_is_not_nothing():
    prices = Prices({})
    assert prices.of(USAGE, "gpt-4o") is None, "without the list"
    prices.load()
    assert prices.of(USAGE, "something of my own", "http://127.0.0.1:8080/v1") is None


def test_the_price_list_is_asked_with_the_providers_url():
    pytest.importorskip("genai_prices")
    prices = Prices({"gpt-4o-mini": PriceConfig(input=7.0, output=0.0)})
    prices.load()
    listed = prices.of(USAGE, "gpt-4o", "https://api.openai.com/v1")
    assert listed is not None
    assert 0.001 < listed < 0.1
    assert prices.of(USAGE, "gpt-4o", "http://127.0.0.1:8080/v1") == listed, (
        "behind a proxy of somebody's own"
    )
    assert prices.of(USAGE, "gpt-4o-mini", "https://api.openai.com/v1") == pytest.approx(0.007)
    cached = prices.of(Usage(prompt=1000, answer=500, cached=900), "gpt-4o", "https://api.openai.com/v1")
    assert cached is not None
    assert cached < listed


@pytest.mark.parametrize(
    ("dialect", "usage"),
    [
        (
            "openai-chat",
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
        ),
        ("anthropic-messages", {"input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": 4}),
        (
            "openai-responses",
            {"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}},
        ),
    ],
)
def test_every_api_counts_in_the_same_words(dialect, usage):
    tokens = tokens_in(usage, dialect)
    assert tokens is not None
    assert (tokens.prompt, tokens.answer, tokens.cached) == (9, 5, 4)
    assert tokens_in(None, dialect) is None


def test_prices_in_the_configuration():
    config = parse('[prices."m"]\ninput = 1\noutput = 2.5\n', {}, where="x")
    assert config.prices["m"].output == 2.5
    for wrong in (
        "input = -1\noutput = 1",
        "input = 1",
        "input = 1\noutput = inf",
        "input = 1\noutput = 1\nx = 1",
    ):
        with pytest.raises(ConfigurationError, match="prices"):
            parse(f'[prices."m"]\n{wrong}\n', {}, where="x")


def test_names_that_callers_make_up_take_no_memory():
    pytest.importorskip("genai_prices")
    prices = Prices({})
    prices.load()
    assert prices.of(USAGE, "gpt-4o") is not None
    for number in range(2000):
        assert prices.of(USAGE, f"made up {number}") is None
    assert len(prices._asked) == 1024
    assert prices.of(USAGE, "gpt-4o") is not None
