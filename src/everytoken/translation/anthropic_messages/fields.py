"""What happens to the fields of a request for a message, and how Messages says those of others.

Source: the Anthropic API reference ("Create a Message") and the types of the official SDK, betas included, November 2026.
"""

from __future__ import annotations

from typing import Final

from everytoken.translation.hosted import HOSTED
from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["API", "DEFAULT_MAX_TOKENS", "KINDS", "READS", "TYPES", "WRITES"]

API: Final = "Messages"

DEFAULT_MAX_TOKENS: Final = 32_000
"""`max_tokens`, which Messages requires, where the caller gives no limit: what every current Claude model allows."""

_LABEL = "it is for accounts and support at Anthropic"
_CONTEXT = (
    "it only shortens what the model is given; a conversation that is too long is refused by the upstream"
)
_CACHE = "it makes an answer cheaper, not different"
_STATE = "what it names is kept at Anthropic"
_CLIENT = "Anthropic's own tool, whose calls and results have a form of their own; describe it as a tool with `input_schema`"
_RESULT = "what the provider's own tools have found is told in the text behind it"
_SETTING = "the API has no such setting, and the answer is of the same kind without it"

READS: Final = rows(
    said("model"),
    said("messages"),
    said("system", "messages"),
    said("max_tokens"),
    said("stop_sequences", "stop"),
    said("temperature"),
    said("top_p"),
    said("top_k"),
    said("tools"),
    said("tool_choice"),
    said(
        "thinking",
        "reasons",
        "a budget of tokens as an effort: up to 4,096 `low`, up to 16,384 `medium`, else `high`; `between_tools` as `adaptive`",
    ),
    said("output_config.effort", "effort"),
    said("output_config.format", "output"),
    dropped("output_config.task_budget", "it is a hint"),
    said("output_format", "output", "the older name of `output_config.format`"),
    said("metadata.user_id", "user"),
    said("stream"),
    dropped("cache_control", _CACHE),
    dropped("service_tier", "it is about price and speed"),
    dropped("speed", "it makes an answer come faster, not different"),
    dropped("context_management", _CONTEXT),
    dropped("compaction", _CONTEXT),
    dropped("betas", "what they allow has fields of its own"),
    dropped("diagnostics", _LABEL),
    dropped("billing_policy", _LABEL),
    dropped("user_profile_id", _LABEL),
    dropped("workspace_id", _LABEL),
    dropped("fallback_credit_token", _LABEL),
    dropped("fallbacks", "other upstreams stand in for one that fails"),
    refused("container", _STATE),
    refused("thread", _STATE),
    refused("mcp_servers", "the provider calls these servers itself", []),
    refused("inference_geo", "no other API promises a region"),
)
"""The fields of a caller's request."""

TYPES: Final = rows(
    said("message user"),
    said("message assistant"),
    said("message system"),
    said("part text", note="without its citations"),
    said("part image", "image", "one of an id is refused: the file is at Anthropic"),
    said(
        "part document",
        "file",
        "one of an id, or with citations asked for, is refused; what is in content blocks becomes parts",
    ),
    said("part search_result", "part text", "as text; refused with citations asked for"),
    said("part thinking", "reasoning"),
    said("part redacted_thinking", "reasoning"),
    said("part tool_use", "call function"),
    said("part tool_result", "tool result"),
    said("part tool_reference", "part text", "as text: all tools are offered at once"),
    dropped("part server_tool_use", _RESULT),
    dropped("part web_search_tool_result", _RESULT),
    dropped("part web_fetch_tool_result", _RESULT),
    dropped("part advisor_tool_result", _RESULT),
    dropped("part code_execution_tool_result", _RESULT),
    dropped("part bash_code_execution_tool_result", _RESULT),
    dropped("part text_editor_code_execution_tool_result", _RESULT),
    dropped("part tool_search_tool_result", "all tools are offered at once"),
    dropped("part mcp_tool_use", _RESULT),
    dropped("part mcp_tool_result", _RESULT),
    dropped("part mcp_tool_listing", _RESULT),
    dropped("part fallback", "it tells which model has answered"),
    refused("part browser_state", _CLIENT),
    refused("part container_upload", _STATE),
    refused("part compaction", "it stands for a part of the conversation, and only Anthropic can read it"),
    refused("part tool_addition", "no other API changes tools in the middle of a conversation"),
    refused("part tool_removal", "no other API changes tools in the middle of a conversation"),
    said("tool custom", "tool function"),
    dropped("tool tool_search_tool_bm25", "all tools are offered at once"),
    dropped("tool tool_search_tool_regex", "all tools are offered at once"),
    dropped("tool web_search", HOSTED),
    dropped("tool web_fetch", HOSTED),
    dropped("tool code_execution", HOSTED),
    dropped("tool advisor", HOSTED),
    dropped("tool mcp_toolset", HOSTED),
    refused("tool bash", _CLIENT),
    refused("tool text_editor", _CLIENT),
    refused("tool memory", _CLIENT),
    refused("tool computer", _CLIENT),
    refused("tool computer_toolset", _CLIENT),
    refused("tool browser_toolset", _CLIENT),
)
"""Roles of messages, and types of content blocks and tools, without the date of a tool."""

WRITES: Final = rows(
    said("model"),
    said("messages"),
    said("tools", note="a name must match `^[a-zA-Z0-9_-]{1,128}$`"),
    said("tool_choice"),
    said("allowed", note="the other tools are left out"),
    said("parallel_calls", note="as `disable_parallel_tool_use`"),
    said("max_tokens", note=f"{DEFAULT_MAX_TOKENS:,} where the caller gives none"),
    said(
        "temperature",
        note="above 1 it is 1, as Anthropic does itself; current Claude models refuse any but 1",
    ),
    said("top_p", note="current Claude models refuse it"),
    said("top_k", note="current Claude models refuse it"),
    said("stop", note="as `stop_sequences`; one of white space only is refused"),
    said("output", note="as `output_config.format`; JSON without a schema is refused"),
    said("reasons", note="as `thinking`: `adaptive` or `disabled`; left out where a tool is forced"),
    said("effort", note="as `output_config.effort`; `minimal` as `low`"),
    said("budget"),
    said("shown", note="as `thinking.display`, where reasoning is asked for"),
    dropped("verbosity", _SETTING),
    said(
        "user",
        note="as `metadata.user_id`; one over 64 characters, an e-mail address or a telephone number as a hash",
    ),
    said("safety_identifier", note="as `metadata.user_id`, before `user`"),
    dropped("metadata", "they are labels, which no model is given"),
    dropped("service_tier", "it is about price and speed"),
    dropped("prompt_cache_key", _CACHE),
    dropped("prompt_cache_retention", _CACHE),
    dropped("prompt_cache_options", _CACHE),
    said("stream"),
)
"""The fields of the neutral request."""

KINDS: Final = rows(
    said(
        "message system",
        note="in `system`, also one from the middle; behind the last answer, as a user turn",
    ),
    said(
        "message developer",
        note="in `system`, also one from the middle; behind the last answer, as a user turn",
    ),
    said("message user", note="neighbours as one turn, results of tools first"),
    said("message assistant", note="neighbours as one turn"),
    said("part text", note="empty text is left out: the API refuses it"),
    said("part refusal", note="as text"),
    said("image", note="without its `detail`; JPEG, PNG, GIF and WebP"),
    said("file", note="PDF and text"),
    dropped("reasoning", "another provider's reasoning means nothing to this one"),
    said("call function", note="arguments that are no JSON object are put into one"),
    said("call custom", note="as a function with one argument, `input`"),
    said("tool function"),
    said(
        "tool custom", note="as a function with one argument, `input`; a grammar is told in its description"
    ),
    said("tool result"),
)
"""What messages and tools are made of."""
