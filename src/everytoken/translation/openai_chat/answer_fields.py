"""What happens to the parts of a chat completion for a caller of another API."""

from __future__ import annotations

from typing import Final

from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["ANSWERS"]

_OPAQUE: Final = "only its provider can read it"
_UNASKED: Final = "requests that ask for it are refused"
_SERVER: Final = "it tells of the server, not of the answer"

ANSWERS: Final = rows(
    said("delta.content", note="also as a list of parts"),
    said(
        "delta.reasoning_content",
        note="also under the names `reasoning`, `reasoning_text`, `thinking`, `reasoning_details` and `thinking_blocks`",
    ),
    said("delta.reasoning_details.signature", note="in Messages; left out in Responses, which has no place for it"),
    dropped("delta.reasoning_details.data", _OPAQUE),
    said("delta.refusal", note="in Messages as text, with `stop_reason: refusal`"),
    said("delta.tool_calls.function", note="a call without an id gets one"),
    said("delta.tool_calls.custom", note="in Responses; refused in Messages, whose requests cannot have such tools"),
    dropped(
        "delta.tool_calls.extra_content", f"{_OPAQUE}; one that needs it back refuses the next request, as Gemini 3 does"
    ),
    said("delta.function_call", note="as a tool call"),
    said("delta.annotations", note="sources in the web; any other is refused"),
    said("citations", note="URLs, as sources of the whole text"),
    said("search_results", note="as `citations`"),
    said("finish_reason", note="one that is not known is refused"),
    said("usage"),
    dropped("choices.logprobs", _UNASKED),
    dropped("choices.content_filter_results", "it says that nothing was filtered; if something was, `finish_reason` says so"),
    dropped("prompt_filter_results", "it is about the request"),
    dropped("prompt_progress", _SERVER),
    dropped("timings", _SERVER),
    dropped("system_fingerprint", _SERVER),
    dropped("service_tier", _SERVER),
    refused("choices", "a second choice: other APIs give one answer"),
    refused("delta.audio", "other APIs have no sound"),
    refused("delta.images", "other APIs give no images in text"),
    refused("delta.executed_tools", "the provider ran a tool by itself"),
    refused("delta.*", "any other field that holds text, a list or an object may be a part of the answer"),
    refused("*", "any other list or object beside the choices, for the same reason"),
)  # fmt: skip
