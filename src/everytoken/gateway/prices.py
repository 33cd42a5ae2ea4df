"""What tokens cost: by the configuration, else by the price list of the package `genai-prices`, else it is not known."""

from __future__ import annotations

import asyncio
import importlib
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from everytoken.errors import one_line
from everytoken.translation.anthropic_messages.usage import usage_in as in_messages
from everytoken.translation.openai_chat.usage import usage_in as in_chat
from everytoken.translation.openai_responses.usage import usage_in as in_responses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.translation.events import Usage

__all__ = ["PriceConfig", "Prices", "Used", "tokens_in", "used_by"]

logger = logging.getLogger("everytoken.gateway")

_MILLION = 1_000_000
_MOST = 1024  # models, each at one URL, that are looked up
_READ = {"anthropic-messages": in_messages, "openai-responses": in_responses}


class PriceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model costs, in US dollars for a million tokens. `cached`, `written`: of the input, None: as `input`."""

    input: float
    output: float
    cached: float | None = None
    written: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for price in (self.input, self.output, self.cached, self.written):
            if price is not None and not 0 <= price < _MILLION:
                raise ValueError("a price must be 0 or more, in dollars for a million tokens")


def tokens_in(usage: dict[str, Any] | None, dialect: str) -> Usage | None:
    """Return usage as a dialect reports it, with the same names for all: None where it says nothing."""
    return _READ.get(dialect, in_chat)(usage)


class Used(NamedTuple):
    """What one attempt has used, of which model, at which upstream."""

    usage: Usage | None
    model: str
    upstream: str


def used_by(attempts: Sequence[Mapping[str, Any]], dialect: str) -> list[Used]:
    """Return what each attempt of a response has used.

    Where one was cut, its prompt was as long as another's; where its process was killed, it is taken to have asked whom
    another has asked.
    """
    found = [tokens_in(attempt.get("usage"), dialect) for attempt in attempts]
    prompt = next((usage.prompt for usage in found if usage is not None and usage.prompt is not None), None)
    asked = [(attempt.get("model", ""), attempt.get("upstream", "")) for attempt in attempts]
    known = next((one for one in asked if one[1]), ("", ""))
    return [
        Used(
            usage
            if usage is None or usage.prompt is not None
            else msgspec.structs.replace(usage, prompt=prompt),
            *(one if one[1] else known),
        )
        for usage, one in zip(found, asked, strict=True)
    ]


class Prices:
    """Finds out what usage costs. `configured`: prices by model; what is not there is looked up if the package is there."""

    def __init__(self, configured: Mapping[str, PriceConfig]) -> None:
        self._configured = dict(configured)
        self._listed: Any = None
        self._asked: dict[
            tuple[str, str], bool
        ] = {}  # models and URLs that were looked up, and whether with success
        self._loaded = False
        self._last: tuple[Any, float | None] = (None, None)

    async def ready(self) -> None:
        """Load the price list if that has not been done."""
        if not self._loaded:
            await asyncio.to_thread(self.load)

    def load(self) -> None:
        """Load the price list, which takes a moment. Without the package there is none."""
        self._loaded = True
        try:
            self._listed = importlib.import_module("genai_prices")
        except ImportError:
            self._listed = None

    def of_response(
        self, told: Sequence[Mapping[str, Any]], dialect: str, urls: Mapping[str, str]
    ) -> float | None:
        """Return what all attempts of a response have cost together; None if that of one is not known.

        `told`: the attempts as the response's metadata has them. Several observers of one event ask, and it is found out once.
        """
        if self._last[0] is not told:
            self._last = (told, self._cost(told, dialect, urls))
        return self._last[1]

    def _cost(self, told: Sequence[Mapping[str, Any]], dialect: str, urls: Mapping[str, str]) -> float | None:
        total = 0.0
        for usage, model, upstream in used_by(told, dialect):
            if usage is not None:
                cost = self.of(usage, model, urls.get(upstream, ""))
                if cost is None:
                    return None
                total += cost
        return round(total, 9) if any(attempt["usage"] for attempt in told) else None

    def of(self, usage: Usage | None, model: str, url: str = "") -> float | None:
        """Return what usage of a model at the upstream with a URL costs, in US dollars; None if that is not known."""
        if usage is None or usage.prompt is None or usage.answer is None:
            return None
        price = self._configured.get(model)
        if price is not None:
            cached, written = usage.cached or 0, usage.written or 0
            plain = max(0, usage.prompt - cached - written)
            return (
                plain * price.input
                + cached * (price.input if price.cached is None else price.cached)
                + written * (price.input if price.written is None else price.written)
                + usage.answer * price.output
            ) / _MILLION
        return self._look_up(usage, model, url)

    def _look_up(self, usage: Usage, model: str, url: str) -> float | None:
        known = self._asked.get((model, url))
        if self._listed is None or not model or known is False:
            return None
        if known is None and len(self._asked) >= _MOST:
            return None  # callers choose the name, and the package remembers each
        told = self._listed.Usage(
            input_tokens=usage.prompt,
            output_tokens=usage.answer,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.written,
        )
        # By its provider where that is known; a proxy of somebody's own is not, but the model may be.
        for provider in ([url] if url else []) + [None]:
            try:
                found = self._listed.calc_price(told, model, provider_api_url=provider)
            except (LookupError, ValueError):
                continue
            self._asked[model, url] = True
            return float(Decimal(found.total_price))
        self._asked[model, url] = False
        name = one_line(model)[:100]
        logger.info("the price of the model %s is not known; a table [prices.%r] would tell it", name, name)
        return None
