"""What may be done for a response, as values: the policy, the upstreams it may use, and what was learned of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from everytoken.translation.translation import Translation

__all__ = ["LearnedCapabilities", "Outcome", "Policy", "Strategy", "Target"]

_FOREVER = float("inf")
_FOLLOWS = 0.3  # of the way from the mean to a new measurement
_ENOUGH = 8  # chunks from which a rate can be told
_WAITS = 64  # times that are remembered of an upstream and model: their p99 is the longest of them

Strategy = Literal["first", "retry", "prefill", "replay"]
Outcome = Literal["completed", "interrupted", "cancelled", "failed"]

# What may pass: the request came too early or too often, the server or a proxy in front of it is in trouble
# (520 to 524: Cloudflare; 529: Anthropic), or something in between sends everybody elsewhere for the moment.
RETRY_STATUSES = frozenset(
    {302, 303, 307, 408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait and how often to try. All times are in seconds; there is no total limit.

    `connect`: until the request is on its way. `first_content`: from there to the first content (reasoning and tool
    calls are content; comments, pings and empty deltas are not). `content_gap`: between two pieces of content.
    `thinking`: in place of both while bytes of any kind come, or where the request asks for reasoning.
    `non_streaming`: for a whole response in one piece. An attempt for which one of these limits passes is suspected, and
    another one is begun beside it (`hedge`) or in its place; it is given up for good after `give_up`. `hedges`: how
    many of these a response may have. `linger`: how long usage and `[DONE]` may lag behind the finish_reason.
    `attempts`: how many may fail at one upstream through its own fault; `max_attempts`: how many a response may take in
    all. `backoff` doubles with every fault of an upstream up to `backoff_max`, half of it jitter; `retry_after_max` is
    the longest `Retry-After` that is waited for. A status that is not in `retry_statuses` is not tried again. `failover`:
    whether an upstream may `continue` a text that another model has written, or only repeat it (`exact`).
    """

    connect: float = 10.0
    first_content: float = 30.0
    content_gap: float = 30.0
    thinking: float = 300.0
    non_streaming: float = 300.0
    give_up: float = 600.0
    hedge: bool = True
    hedges: int = 2
    linger: float = 10.0
    attempts: int = 3
    max_attempts: int = 10
    backoff: float = 0.5
    backoff_max: float = 8.0
    retry_after_max: float = 30.0
    retry_statuses: frozenset[int] = RETRY_STATUSES
    strategies: frozenset[Literal["prefill", "replay", "non-streaming"]] = frozenset(
        {"prefill", "replay", "non-streaming"}
    )
    failover: Literal["exact", "continue"] = "exact"

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns the ValueError into its ValidationError with the path."""
        for name in ("connect", "first_content", "content_gap", "thinking", "non_streaming", "give_up"):
            if not 0 < getattr(self, name) < _FOREVER:
                raise ValueError(f"{name} must be a finite number of seconds above 0")
        for name in ("linger", "backoff", "backoff_max", "retry_after_max"):
            if not 0 <= getattr(self, name) < _FOREVER:
                raise ValueError(f"{name} must be a finite number of seconds, 0 or more")
        for name in ("attempts", "max_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.hedges < 0:
            raise ValueError("hedges must be 0 or more")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream as recovery sees it.

    `model`: what it calls the model asked for, None to pass the caller's name on. `prefill`: whether it continues an
    assistant message that comes last (`auto`: only once it has shown so). `seeds` and `usage`: whether it may be sent
    a `seed` and `stream_options` that we add. `omits_finish_reason`: it is known never to send a finish_reason.
    `weight` and `cost` (of any unit) are for choosing among several. `extra`, `prefill_extra`, `prefill_message`: fields to add to every request, to a prefill, to its last message.
    `translation`: how it is spoken to in an API that is not the caller's; None: in the caller's. `instead`: how to ask it
    where it turns out not to offer that API.
    """

    name: str
    model: str | None = None
    prefill: Literal["yes", "no", "auto"] = "auto"
    seeds: bool = True
    usage: bool = True
    omits_finish_reason: bool = False
    extra: dict[str, Any] = {}
    prefill_extra: dict[str, Any] = {}
    prefill_message: dict[str, Any] = {}
    weight: float = 1.0
    cost: float = 0.0
    policy: Policy = Policy()
    translation: Any = None  # a Translation; msgspec would have to resolve the name
    instead: Target | None = None

    def api(self, dialect: str) -> str:
        """Return the name of the dialect that it is asked in for a caller of `dialect`."""
        translation: Translation | None = self.translation
        return dialect if translation is None else translation.dialect.name


class LearnedCapabilities(msgspec.Struct):
    """What responses have learned of one upstream and model; shared by them.

    `prefill`: it `continues` a prefill, has `refused` one, or `restarts` from the beginning.
    `additions`: whether it `accepted` the seed and stream_options that we add, or has `refused` them.
    `streaming`: it has `refused` to stream. `missing_until`: it lacks this API, which is worth another try only then
    (seconds of the driver's clock). `refuses`: fields of translated requests that it does not take. `waits`: the latest times to its first content, in seconds; `gaps`: the latest
    silences in the middle that were long, and that content ended. `first_token` (seconds) and `rate` (chunks a
    second): means that follow the latest responses, None until there was one; `measured`: when.
    """

    prefill: Literal["unknown", "continues", "refused", "restarts"] = "unknown"
    additions: Literal["unknown", "accepted", "refused"] = "unknown"
    streaming: Literal["unknown", "refused"] = "unknown"
    missing_until: float = 0.0
    refuses: list[str] = []
    waits: list[float] = []
    gaps: list[float] = []
    first_token: float | None = None
    rate: float | None = None
    measured: float = 0.0

    def has_answered(self, seconds: float, now: float) -> None:
        """Record a time to the first content."""
        self.waits.append(round(seconds, 3))
        del self.waits[:-_WAITS]
        self.first_token, self.measured = _moved(self.first_token, seconds), now

    def has_sent(self, chunks: int, seconds: float) -> None:
        """Record how long an attempt took for its chunks, from the first to the last."""
        if chunks >= _ENOUGH and seconds > 0:
            self.rate = _moved(self.rate, (chunks - 1) / seconds)

    def has_paused(self, seconds: float) -> None:
        """Record a long silence that content ended."""
        self.gaps.append(round(seconds, 3))
        del self.gaps[:-_WAITS]

    def first_content(self, usual: float) -> float:
        """Return how long to wait for the first content: longer than usual where this one has shown to be slower."""
        return max(usual, 3 * max(self.waits, default=0.0))

    def content_gap(self, usual: float) -> float:
        """Return how long a silence may be."""
        return max(usual, 3 * max(self.gaps, default=0.0))


def _moved(mean: float | None, value: float) -> float:
    """Return a mean that follows what it is the mean of within some measurements."""
    return value if mean is None else mean + (value - mean) * _FOLLOWS
