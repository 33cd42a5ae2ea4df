"""The response object around the items: it says again what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.translation.events import Began

__all__ = ["begun_response"]

# What OpenAI says of a request that does not.
_REPEATED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
_IF_ASKED: Final = ("background", "prompt_cache_key", "safety_identifier", "service_tier")


def begun_response(request: Mapping[str, Any], began: Began, *, created: int) -> dict[str, Any]:
    """Return the response object of `response.created`."""
    asked = {name: request[name] for name in (*_REPEATED, *_IF_ASKED) if request.get(name) is not None}
    return {
        "id": began.id if began.id.startswith("resp_") else f"resp_{began.id}",
        "object": "response",
        "created_at": began.created or created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": began.model,
        "output": [],
        **_REPEATED,
        **asked,
        "usage": None,
    }
