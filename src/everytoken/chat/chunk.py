"""What we read of one `chat.completion.chunk`: as much as we act on; the rest stays in its bytes.

Sources: the OpenAI API reference ("Chat Completions: streaming"), and what the servers in the field really send.
Fields that carry the answer are typed loosely enough for all of them; `everytoken.chat.lenient` reads the others.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Choice", "Chunk", "Delta", "FunctionDelta", "ToolCallDelta"]

# gc=False: made from JSON these hold no cycles, and a chunk is decoded a seventh faster without the bookkeeping.


class FunctionDelta(msgspec.Struct, gc=False):
    """A fragment of a function call: the name normally comes whole, the arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, gc=False):
    """A fragment of one tool call; `index` may be missing, repeated or start at 1."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct, gc=False):
    """The increment inside a chunk. `content` is a list of parts where Mistral streams its thinking."""

    role: str | None = None
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionDelta | None = None

    @property
    def text(self) -> str:
        """The text of the answer in this delta, "" if none; of a list of parts, its text parts joined."""
        content = self.content
        if isinstance(content, str):
            return content
        return text_of_parts(content) if content else ""

    @property
    def has_content(self) -> bool:
        """Whether a reader gets anything of the answer: text, reasoning, a refusal or a piece of a call."""
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
        )


class Choice(msgspec.Struct, gc=False):
    """One choice of a chunk. An empty `finish_reason` means the same as none: some servers send it so.

    `message` and `text` belong to other endpoints; a choice that has one of them in place of its `delta` would
    otherwise lose its text unnoticed.
    """

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    error: Any = None
    message: Any = None
    text: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """One `chat.completion.chunk`."""

    id: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None

    @property
    def has_content(self) -> bool:
        """Whether any choice carries content."""
        for choice in self.choices or ():  # noqa: SIM110  # a generator costs more than all it looks at
            if choice.delta is not None and choice.delta.has_content:
                return True
        return False

    @property
    def presentable(self) -> bool:
        """Whether `chunk.choices[0].delta.content` works on it: at least one choice, and no null delta."""
        if not self.choices:
            return False
        for choice in self.choices:  # noqa: SIM110  # see has_content
            if choice.delta is None:
                return False
        return True


def text_of_parts(parts: list[Any]) -> str:
    """Return the joined text of a message's content parts; what is neither a string nor a text part has none."""
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
        if isinstance(text, str):
            texts.append(text)
    return "".join(texts)
