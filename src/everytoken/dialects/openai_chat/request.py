"""A chat completion request: what we check, what we leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from everytoken.dialects.fields import check_messages, flag_in, model_in
from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ChatRequest"]


class ChatRequest:
    """A checked chat completion request; `body` is the caller's JSON object, unknown fields and all.

    Raises `InvalidRequestError` (its `param` names the field) for what no server could answer.
    """

    dialect: ClassVar[str] = "openai-chat"

    __slots__ = ("body", "choices", "include_usage", "model", "stream", "stream_id")

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body: dict[str, Any] = dict(body)
        self.stream_id = ""
        check_messages(self.body.get("messages"))
        self.model = model_in(self.body)
        self.stream = flag_in(self.body, "stream")
        choices = self.body.get("n")
        if choices is None:
            choices = 1
        if not isinstance(choices, int) or isinstance(choices, bool) or not 1 <= choices <= 128:
            raise InvalidRequestError("'n' must be a whole number from 1 to 128", param="n")
        self.choices = choices
        options = self.body.get("stream_options")
        if not (options is None or isinstance(options, dict)):
            raise InvalidRequestError("'stream_options' must be an object", param="stream_options")
        self.include_usage = self.stream and bool((options or {}).get("include_usage"))

    @classmethod
    def from_json(cls, data: bytes, *, default_model: str = "") -> ChatRequest:
        """Read a request body; `default_model` is for one that names none.

        Raises `InvalidRequestError` when it is not a JSON object or lacks `messages`.
        """
        try:
            body = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidRequestError(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise InvalidRequestError("the body must be a JSON object")
        if default_model and not body.get("model"):
            body["model"] = default_model
        return cls(body)

    @property
    def needs_non_streaming(self) -> bool:
        """Whether it can only be answered in one piece: sound in another format than raw samples is not streamed."""
        modalities, audio = self.body.get("modalities"), self.body.get("audio")
        if self.stream or not (isinstance(modalities, list) and "audio" in modalities):
            return False
        return isinstance(audio, dict) and audio.get("format") != "pcm16"

    @property
    def shows_usage(self) -> bool:
        """Whether the caller asked for the usage inside the stream."""
        return self.include_usage

    @property
    def has_tools(self) -> bool:
        """Whether a tool call may come behind any text."""
        return bool(self.body.get("tools"))

    @property
    def reasons(self) -> bool:
        """Whether it asks for reasoning, so that a long silence is to be expected."""
        effort = self.body.get("reasoning_effort")
        asked = self.body.get("reasoning") or self.body.get("thinking") or self.body.get("enable_thinking")
        return bool(asked) or (isinstance(effort, str) and effort not in {"none", "minimal"})

    @property
    def has_grammar(self) -> bool:
        """Whether the response is bound to a grammar, which would start again after a prefill."""
        form = self.body.get("response_format")
        return isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}

    @property
    def obstacle(self) -> str | None:
        """Why no attempt can continue a response to it, None if one can."""
        if self.choices > 1:
            return "several choices cannot be continued faithfully"
        return "logprobs cannot be continued faithfully" if self.body.get("logprobs") else None

    @property
    def seed(self) -> int | None:
        """The caller's seed, or None."""
        seed = self.body.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
