"""How an upstream of the configuration is asked: for which model, and in which API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from everytoken.gateway.making import is_embedded
from everytoken.recovery import Policy, Target
from everytoken.translation.registry import DIALECTS, translation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.gateway.config import UpstreamConfig
    from everytoken.translation.registry import ApiName

__all__ = ["native_first", "offered", "offers", "target_of"]

_COMPLETIONS: Final = (
    "openai-completions"  # offered by those that offer chat completions, and translated to nothing
)
_OFFERS: Final[dict[str, tuple[ApiName, ...]]] = {
    "api.openai.com": ("chat", "responses"),
    "openai.azure.com": ("chat", "responses"),
    "services.ai.azure.com": ("chat", "responses"),
    "api.anthropic.com": ("messages",),
    "generativelanguage.googleapis.com": ("chat",),
    "api.groq.com": ("chat", "responses"),
    "api.mistral.ai": ("chat",),
    "api.deepseek.com": ("chat",),
    "api.together.xyz": ("chat",),
    "api.cerebras.ai": ("chat",),
    "api.x.ai": ("chat", "responses"),
}


def offered(upstream: UpstreamConfig) -> tuple[ApiName, ...] | None:
    """Return which APIs an upstream offers: as configured, or known of its host; None where only trying tells."""
    if upstream.api is not None:
        return (upstream.api,) if isinstance(upstream.api, str) else tuple(upstream.api)
    try:
        parts = urlsplit(upstream.url)
        host = f".{parts.hostname or ''}"
    except ValueError:
        return None
    if is_embedded(upstream):
        # llama.cpp's other two APIs take no seed, call a cut answer completed, and ignore the format of a text.
        return ("chat",)
    if host == ".api.deepseek.com" and "/anthropic" in parts.path:
        return ("messages",)
    return next((apis for name, apis in _OFFERS.items() if host.endswith(f".{name}")), None)


def offers(upstream: UpstreamConfig, *dialects: str) -> bool:
    """Whether an upstream offers the API of one of the dialects, or may."""
    apis = offered(upstream)
    return apis is None or any(DIALECTS[api] in dialects for api in apis)


def target_of(upstream: UpstreamConfig, dialect: str, model: str, policy: Policy) -> Target | None:
    """Return how `upstream` is asked for `model` by callers of `dialect`, or None when it does not serve them."""
    names = upstream.names
    if names and model not in names:
        return None
    target = Target(
        name=upstream.name,
        model=names.get(model),
        prefill=upstream.prefill,
        seeds=upstream.seeds,
        usage=upstream.usage,
        omits_finish_reason=upstream.omits_finish_reason,
        extra=upstream.extra,
        prefill_extra=upstream.prefill_extra,
        prefill_message=upstream.prefill_message,
        weight=upstream.weight,
        cost=upstream.cost,
        policy=policy,
    )
    apis = offered(upstream)
    if dialect == _COMPLETIONS and apis is not None and "chat" not in apis:
        return None
    if dialect not in DIALECTS.values():
        return target  # an API that is not ours: only trying tells
    if apis is None:
        chat = translation(dialect, DIALECTS["chat"])
        return target if chat is None else replace(target, instead=replace(target, translation=chat))
    if any(DIALECTS[api] == dialect for api in apis):
        return target
    for api, spoken in DIALECTS.items():
        if api in apis and (found := translation(dialect, spoken)) is not None:
            return replace(target, translation=found)
    return None


def native_first(found: Sequence[tuple[str, Target]]) -> list[Target]:
    """Return targets, given with the URLs of their upstreams, in that order, but for those of one server.

    One that offers the caller's API stands before one of the same server that would have to be translated to.
    """
    if all(target.translation is None for _, target in found):
        return [target for _, target in found]
    servers = [url.split("/")[2:3] for url, _ in found]
    order = sorted(
        range(len(found)), key=lambda i: (servers.index(servers[i]), found[i][1].translation is not None)
    )
    return [found[i][1] for i in order]
