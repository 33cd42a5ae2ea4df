"""What of a translated request may be left out, or said otherwise, where an upstream refuses it by its name.

A caller of another API cannot know what a server of this one takes: Claude Code always asks for an effort, which most models of
chat completions refuse. None of these fields changes what is asked, so an answer without them is better than none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SPARED", "spare"]

_SAMPLING: Final = ("temperature", "top_p")
_ABOUT: Final = ("metadata", "service_tier")
_OPENAI: Final = (
    *_SAMPLING,
    *_ABOUT,
    *("parallel_tool_calls", "user", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
)

SPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "openai-chat": (*_OPENAI, "reasoning_effort", "verbosity", "max_tokens"),
    "openai-responses": (*_OPENAI, "reasoning", "text.verbosity", "store"),
    "anthropic-messages": (*_SAMPLING, *_ABOUT, "top_k", "thinking", "output_config.effort"),
}
"""By dialect, paths of fields. `max_tokens` of chat completions is not left out but becomes `max_completion_tokens`, which
OpenAI's reasoning models want and many servers pass over in silence."""


def spare(body: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return the body of a request without the fields at `paths`."""
    body = dict(body)
    for path in paths:
        name, _, inner = path.partition(".")
        if name not in body:
            continue
        value = body.pop(name)
        if path == "max_tokens":
            body["max_completion_tokens"] = value
        elif inner and isinstance(value, dict) and (rest := {k: v for k, v in value.items() if k != inner}):
            body[name] = rest
    return body
