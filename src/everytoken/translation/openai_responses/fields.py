"""What happens to the fields of a request for a response, and how Responses says those of others.

Source: the OpenAI API reference ("Create a model response") and the types of the official SDK, November 2026.
"""

from __future__ import annotations

from typing import Final

from everytoken.translation.hosted import HOSTED
from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["API", "KINDS", "READS", "TYPES", "WRITES"]

API: Final = "Responses"

_CACHE = "it makes an answer cheaper, not different"
_CONTEXT = (
    "it only shortens what the model is given; a conversation that is too long is refused by the upstream"
)
_STATE = "what it names is kept at OpenAI"
_OWN = "the gateway does this itself"
_CLIENT = "OpenAI's own tool, whose calls and results have a form of their own; describe it as a function"
_RESULT = "what the provider's own tools have found is told in the text behind it"

READS: Final = rows(
    said("model"),
    said("input", "messages"),
    said("instructions", "messages"),
    said("max_output_tokens", "max_tokens"),
    said("temperature"),
    said("top_p"),
    said("tools"),
    said("tool_choice"),
    said("parallel_tool_calls", "parallel_calls"),
    said("text.format", "output"),
    said("text.verbosity", "verbosity"),
    said("reasoning.effort", "effort"),
    said("reasoning.summary", "shown"),
    said("reasoning.generate_summary", "shown", "the older name of `reasoning.summary`"),
    dropped("reasoning.context", "reasoning of earlier turns is not given to another provider"),
    dropped("reasoning.mode", "no other API has modes of reasoning; the answer is of the same kind"),
    said("user"),
    said("safety_identifier"),
    said("metadata"),
    said("service_tier"),
    said("prompt_cache_key"),
    said("prompt_cache_retention"),
    said("prompt_cache_options"),
    said("stream"),
    dropped("stream_options", "it only hides the length of events"),
    dropped(
        "include",
        "it adds to what is shown of the provider's own tools and reasoning; log probabilities are refused",
    ),
    dropped("store", _OWN),
    dropped("background", _OWN),
    dropped("background_options", _OWN),
    dropped("client_metadata", "it tells OpenAI about the client"),
    dropped("truncation", _CONTEXT),
    dropped("context_management", _CONTEXT),
    dropped("max_tool_calls", "it limits only the provider's own tools"),
    dropped("image", "it makes images cheaper"),
    dropped("access_programs", "they are about models of OpenAI"),
    refused("top_logprobs", "log probabilities of tokens are not translated", 0),
    refused("previous_response_id", _STATE),
    refused("conversation", _STATE),
    refused("prompt", _STATE),
    refused("moderation", "only OpenAI moderates, and what it finds is not translated"),
)
"""The fields of a caller's request."""

TYPES: Final = rows(
    said("message system"),
    said("message developer"),
    said("message user"),
    said("message assistant"),
    said("part input_text", "part text"),
    said("part output_text", "part text", "without its annotations"),
    said("part text", "part text"),
    said("part refusal"),
    said("part input_image", "image", "one of an id is refused: the file is at OpenAI"),
    said("part input_file", "file", "one of an id is refused: the file is at OpenAI"),
    refused("part input_audio", "other APIs take no sound"),
    said("item message", "message user"),
    said("item function_call", "call function"),
    said("item function_call_output", "tool result"),
    said("item custom_tool_call", "call custom"),
    said("item custom_tool_call_output", "tool result"),
    said("item reasoning", "reasoning"),
    said("item additional_tools", "tool function", "all tools are offered at once"),
    dropped("item web_search_call", _RESULT),
    dropped("item file_search_call", _RESULT),
    dropped("item code_interpreter_call", _RESULT),
    dropped("item mcp_call", _RESULT),
    dropped("item mcp_list_tools", _RESULT),
    refused("item item_reference", _STATE),
    refused("item compaction", "it stands for a part of the conversation, and only OpenAI can read it"),
    refused("item compaction_trigger", "no other API shortens a conversation"),
    refused("item configuration_update", "no other API changes settings in the middle of a conversation"),
    refused("item image_generation_call", "no other API makes images"),
    refused("item mcp_approval_request", "the provider calls these servers itself"),
    refused("item mcp_approval_response", "the provider calls these servers itself"),
    refused("item tool_search_call", _CLIENT),
    refused("item tool_search_output", _CLIENT),
    refused("item computer_call", _CLIENT),
    refused("item computer_call_output", _CLIENT),
    refused("item local_shell_call", _CLIENT),
    refused("item local_shell_call_output", _CLIENT),
    refused("item shell_call", _CLIENT),
    refused("item shell_call_output", _CLIENT),
    refused("item apply_patch_call", _CLIENT),
    refused("item apply_patch_call_output", _CLIENT),
    refused("item program", _CLIENT),
    refused("item program_output", _CLIENT),
    said("tool function"),
    said("tool custom"),
    said("tool namespace", "tool function", "its tools as `NAMESPACE__TOOL`"),
    dropped("tool web_search", HOSTED),
    dropped("tool web_search_preview", HOSTED),
    dropped("tool file_search", HOSTED),
    dropped("tool code_interpreter", HOSTED),
    dropped("tool image_generation", HOSTED),
    dropped("tool mcp", HOSTED),
    dropped("tool programmatic_tool_calling", HOSTED),
    refused("tool tool_search", _CLIENT),
    refused("tool computer", _CLIENT),
    refused("tool computer_use_preview", _CLIENT),
    refused("tool local_shell", _CLIENT),
    refused("tool shell", _CLIENT),
    refused("tool apply_patch", _CLIENT),
)
"""Roles of messages, and types of items, parts and tools, without the date of a tool."""

WRITES: Final = rows(
    said("model"),
    said("messages", note="as `instructions` and `input`"),
    said("tools"),
    said("tool_choice"),
    said("allowed", note="as `allowed_tools`"),
    said("parallel_calls", note="as `parallel_tool_calls`"),
    said("max_tokens", note="as `max_output_tokens`; OpenAI refuses less than 16"),
    said("temperature"),
    said("top_p"),
    refused("top_k", "the API has no such setting"),
    refused("stop", "the API has no stop sequences"),
    said("output", note="as `text.format`"),
    said("reasons", note="as `reasoning.effort`; thinking that is disabled is `none`"),
    said("effort", note="as `reasoning.effort`"),
    said(
        "budget", note="as `reasoning.effort`: up to 4,096 tokens `low`, up to 16,384 `medium`, else `high`"
    ),
    said("shown", note="as `reasoning.summary`; nothing where it is omitted"),
    said("verbosity", note="as `text.verbosity`"),
    said("user", note="one over 64 characters, an e-mail address or a telephone number as a hash"),
    said(
        "safety_identifier", note="one over 64 characters, an e-mail address or a telephone number as a hash"
    ),
    said("metadata"),
    said("service_tier"),
    said("prompt_cache_key"),
    said("prompt_cache_retention"),
    said("prompt_cache_options"),
    said("stream"),
)
"""The fields of the neutral request. `store` is always false: only the gateway keeps the response."""

KINDS: Final = rows(
    said("message system", note="leading ones as `instructions`"),
    said("message developer", note="leading ones as `instructions`"),
    said("message user"),
    said("message assistant"),
    said("part text"),
    said("part refusal"),
    said("image"),
    said("file", note="a plain text is said as text"),
    dropped("reasoning", "another provider's reasoning means nothing to this one"),
    said("call function"),
    said("call custom"),
    said("tool function", note="`strict` is false where the caller does not say"),
    said("tool custom"),
    said("tool result", note="an error begins with `Error: `"),
)
"""What messages and tools are made of."""
