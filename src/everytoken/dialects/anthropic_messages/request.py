"""A request for a message: what we check, what we leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MessagesRequest"]

_THINKS = frozenset({"enabled", "adaptive"})


class MessagesRequest:
    """A checked request; `body` is the caller's JSON object, unknown fields and all.

    Raises `InvalidRequestError` (its `param` names the field) for what no server could answer.
    """

    dialect: ClassVar[str] = "anthropic-messages"
    seed: ClassVar[int | None] = None  # the API has none
    shows_usage: ClassVar[bool] = True  # it is part of every stream
    needs_non_streaming: ClassVar[bool] = False
    obstacle: ClassVar[str | None] = None

    __slots__ = ("body", "model", "stream", "stream_id")

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body: dict[str, Any] = dict(body)
        self.stream_id = ""
        _check_messages(self.body.get("messages"))
        model = self.body.get("model")
        if model is not None and not isinstance(model, str):
            raise InvalidRequestError("'model' must be a string", param="model")
        self.model: str = model or ""
        stream = self.body.get("stream")
        if not (stream is None or isinstance(stream, bool)):
            raise InvalidRequestError("'stream' must be true or false", param="stream")
        self.stream = bool(stream)
        limit = self.body.get("max_tokens")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise InvalidRequestError("'max_tokens' must be a whole number", param="max_tokens")
        for name in ("thinking", "tool_choice"):
            if not isinstance(self.body.get(name), dict | None):
                raise InvalidRequestError(f"'{name}' must be an object", param=name)
        if not isinstance(self.body.get("tools"), list | None):
            raise InvalidRequestError("'tools' must be a list", param="tools")

    @property
    def has_tools(self) -> bool:
        """Whether a tool call may come behind any text."""
        return bool(self.body.get("tools") or self.body.get("mcp_servers"))

    @property
    def reasons(self) -> bool:
        """Whether it asks for thinking, so that a long silence is to be expected."""
        return (self.body.get("thinking") or {}).get("type") in _THINKS

    @property
    def has_grammar(self) -> bool:
        """Whether the answer is bound to a grammar, which would start again after a prefill."""
        config = self.body.get("output_config")
        bound = config.get("format") if isinstance(config, dict) else None
        return bool(bound or self.body.get("output_format"))


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise InvalidRequestError("'messages' is required", param="messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' must be a list with at least one message", param="messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequestError("each message must be an object", param=f"messages[{position}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequestError("each message needs a 'role'", param=f"messages[{position}].role")
