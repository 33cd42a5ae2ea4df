"""A request for a message: what we check, what we leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from everytoken.dialects.fields import check_messages, flag_in, model_in
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
        check_messages(self.body.get("messages"))
        self.model = model_in(self.body)
        self.stream = flag_in(self.body, "stream")
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
