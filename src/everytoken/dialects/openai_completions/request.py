"""The requests whose answer is text and nothing else, so that another attempt can repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.fields import flag_in, model_in
from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CompletionsRequest", "is_text_only"]

# What makes the answer more than one text: several of them, the prompt itself, tokens and how likely they are.
_COUNTS = ("n", "best_of")
_MORE = ("echo", "suffix", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids", "n_probs")


def is_text_only(body: Mapping[str, Any]) -> bool:
    """Whether a request has one prompt, and gets one text for it."""
    if not isinstance(body.get("prompt"), str) or any(body.get(name) for name in _MORE):
        return False
    logprobs = body.get("logprobs")
    return (logprobs is None or logprobs is False) and all(_is_one(body.get(name)) for name in _COUNTS)


def _is_one(count: Any) -> bool:
    return count is None or (count == 1 and not isinstance(count, bool))


class CompletionsRequest:
    """A request that has been read; see `everytoken.dialects.dialect.Request`.

    Raises `InvalidRequestError` for one whose answer is more than a text.
    """

    dialect = "openai-completions"
    stream_id = ""
    choices = 1
    needs_non_streaming = has_tools = reasons = has_grammar = False
    obstacle: str | None = None

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = dict(body)
        if not is_text_only(body):
            raise InvalidRequestError(
                "only a completion of one prompt, as one text, can be recovered", param="prompt"
            )
        self.model = model_in(self.body)
        self.stream = flag_in(self.body, "stream")
        options = self.body.get("stream_options")
        if not (options is None or isinstance(options, dict)):
            raise InvalidRequestError("'stream_options' must be an object", param="stream_options")
        self.shows_usage = self.stream and bool((options or {}).get("include_usage"))

    @property
    def seed(self) -> int | None:
        """The caller's seed, or None."""
        seed = self.body.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
