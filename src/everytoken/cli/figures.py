"""What an answer has used and how long it took, for people and for programs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Figures", "cost_of"]


class Figures(msgspec.Struct, kw_only=True):
    """One answer. `told`: its result, as the gateway tells it. Times are in seconds since it was asked for; `resumed`: how often our own connection was made again."""

    model: str
    outcome: str
    answer: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    error: dict[str, str] | None = None
    usage: dict[str, Any] | None = None
    first: float | None = None
    seconds: float = 0.0
    resumed: int = 0
    stream: str | None = None
    told: dict[str, Any] | None = None

    @property
    def speed(self) -> float | None:
        """Tokens per second, from the first one to the end; None if the server does not count them."""
        tokens = self._tokens("completion_tokens")
        if not tokens or self.first is None or self.seconds - self.first <= 0:
            return None
        return tokens / (self.seconds - self.first)

    def line(self) -> str:
        """Return one line for people."""
        into, out = self._tokens("prompt_tokens"), self._tokens("completion_tokens")
        cost = self.cost
        recovered = self.recovery()
        resumed = recovered["resumed"] + max(recovered.get("attempts", 1) - 1, 0)
        parts = [
            "tokens: not reported" if out is None else f"{into or 0} tokens in, {out} out",
            None if self.first is None else f"first token after {self.first:.2f} s",
            None if self.speed is None else f"{self.speed:.0f} tokens/s",
            f"{self.seconds:.1f} s",
            None if cost is None else f"${cost:.6f}",
            f"resumed {resumed} time{'s' if resumed > 1 else ''}" if resumed else None,
        ]
        return " · ".join(part for part in parts if part)

    def recovery(self) -> dict[str, Any]:
        """Return what had to be done for the answer to be whole."""
        told: dict[str, Any] = {"resumed": self.resumed}
        attempts = (self.told or {}).get("attempts")
        if attempts:
            told["attempts"] = len(attempts)
            told["causes"] = [attempt["cause"]["code"] for attempt in attempts if attempt.get("cause")]
        return told

    @property
    def used(self) -> dict[str, Any] | None:
        """The tokens, as the stream says, or as the gateway counts those of an answer that was cut."""
        return self.usage or (self.told or {}).get("usage")

    @property
    def cost(self) -> float | None:
        """The price in dollars: as the gateway says, or the server, or a price list; None if nobody knows."""
        told = (self.told or {}).get("cost")
        return told if isinstance(told, int | float) else cost_of(self.model, self.used)

    def json(self, conversation: str | None) -> bytes:
        """Return everything as one JSON object."""
        told = {
            "answer": self.answer,
            "reasoning": self.reasoning or None,
            "model": self.model,
            "outcome": self.outcome,
            "finish_reason": self.finish_reason,
            "error": self.error,
            "usage": self.used,
            "cost": self.cost,
            "times": {
                "first_token": None if self.first is None else round(self.first, 3),
                "total": round(self.seconds, 3),
                "tokens_per_second": None if self.speed is None else round(self.speed, 1),
            },
            "recovery": self.recovery(),
            "stream": self.stream,
            "conversation": conversation,
        }
        return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"

    def _tokens(self, name: str) -> int | None:
        value = (self.used or {}).get(name)
        return value if isinstance(value, int) else None


def cost_of(model: str, usage: Mapping[str, Any] | None) -> float | None:
    """Return what an answer has cost in dollars: as the server says, else by the package genai-prices, else None."""
    if not usage:
        return None
    told = usage.get("cost")
    if isinstance(told, int | float) and not isinstance(told, bool):
        return float(told)
    try:
        prices = importlib.import_module("genai_prices")  # the extra `prices`
    except ImportError:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    try:
        counted = prices.Usage(
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
            cache_read_tokens=cached or 0,
        )
        return float(prices.calc_price(counted, model).total_price)
    except (LookupError, ValueError, TypeError, AttributeError):
        return None
