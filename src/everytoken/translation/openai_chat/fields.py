"""What happens to the fields of a chat completion request, and how chat completions say those of others.

Source: the OpenAI API reference ("Create chat completion") and the types of the official SDK, November 2026.
"""

from __future__ import annotations

from typing import Final

from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["API", "KINDS", "READS", "TYPES", "WRITES"]

API: Final = "chat completions"

_SPEED = "it makes an answer come faster, not different"
_CACHE = "it makes an answer cheaper, not different"
_SOUND = "only chat completions can answer with sound"
_LOGPROBS = "log probabilities of tokens are not translated"
_SAMPLING = "no other API has it"

READS: Final = rows(
    said("model"),
    said("messages"),
    said("tools"),
    said("tool_choice"),
    said("parallel_tool_calls", "parallel_calls"),
    said("max_completion_tokens", "max_tokens"),
    said("max_tokens"),
    said("temperature"),
    said("top_p"),
    said("top_k", note="an extension of many servers"),
    said("stop"),
    said("response_format", "output"),
    said("reasoning_effort", "effort"),
    said("verbosity"),
    said("user"),
    said("safety_identifier"),
    said("metadata"),
    said("service_tier"),
    said("prompt_cache_key"),
    said("prompt_cache_retention"),
    said("prompt_cache_options"),
    said("stream"),
    dropped("stream_options", "the usage is always asked for, and told to callers who ask for it"),
    dropped("seed", "any answer is one that a seed could have given"),
    dropped("prediction", _SPEED),
    dropped("store", "it keeps a copy at the provider"),
    refused("n", "other APIs give one answer to a request", 1),
    refused("logprobs", _LOGPROBS, False),
    refused("top_logprobs", _LOGPROBS, 0),
    refused("frequency_penalty", _SAMPLING, 0),
    refused("presence_penalty", _SAMPLING, 0),
    refused("logit_bias", _SAMPLING, {}),
    refused("modalities", _SOUND, ["text"]),
    refused("audio", _SOUND),
    refused(
        "moderation", "only chat completions and Responses moderate, and what they find is not translated"
    ),
    refused("web_search_options", "it is a search by the provider itself, and differs from API to API"),
    refused("functions", "the answer would have no 'function_call'; use 'tools'", []),
    refused("function_call", "the answer would have no 'function_call'; use 'tool_choice'"),
)
"""The fields of a caller's request."""

TYPES: Final = rows(
    said("message system"),
    said("message developer"),
    said("message user"),
    said("message assistant"),
    said("message tool", "tool result"),
    refused("message function", "use 'tools', and messages of the role 'tool'"),
    said("part text"),
    said("part refusal"),
    said("part image_url", "image"),
    said("part file", "file", "one of an id is refused: the file is at another provider"),
    refused("part input_audio", "other APIs take no sound"),
    said("tool function"),
    said("tool custom"),
    said("call function"),
    said("call custom"),
)
"""Roles of messages, and types of parts, tools and calls."""

WRITES: Final = rows(
    said("model"),
    said("messages"),
    said("tools"),
    said("tool_choice"),
    said("allowed", note="as `allowed_tools`"),
    said("parallel_calls", note="as `parallel_tool_calls`"),
    said("max_tokens"),
    said("temperature"),
    said("top_p"),
    refused("top_k", "the API has no such setting"),
    said("stop", note="OpenAI takes up to four"),
    said("output", note="as `response_format`"),
    said("reasons", note="thinking that is disabled is `reasoning_effort: none`"),
    said("effort", note="as `reasoning_effort`"),
    said(
        "budget", note="as `reasoning_effort`: up to 4,096 tokens `low`, up to 16,384 `medium`, else `high`"
    ),
    dropped("shown", "the API shows no reasoning, or all of it"),
    said("verbosity"),
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
"""The fields of the neutral request."""

KINDS: Final = rows(
    said("message system", note="leading ones as one message"),
    said("message developer", note="as `system`, which more servers know; leading ones as one message"),
    said("message user"),
    said("message assistant", note="text first, then calls"),
    said("part text"),
    said("part refusal"),
    said("image", note="one in a tool result follows in a user message"),
    said("file", note="one of a URL is refused; a plain text is said as text"),
    dropped("reasoning", "another provider's reasoning means nothing to this one"),
    said("call function"),
    said("call custom", note="as a function with one argument, `input`"),
    said("tool function"),
    said(
        "tool custom", note="as a function with one argument, `input`; a grammar is told in its description"
    ),
    said("tool result", note="an error begins with `Error: `"),
)
"""What messages and tools are made of."""
