"""What we read of one `chat.completion.chunk`: as much as we act on; the rest stays in its bytes.

Sources: the OpenAI API reference ("Chat Completions: streaming"), and what the servers in the field really send.
Fields that carry the response are typed loosely enough for all of them; `everytoken.dialects.openai_chat.lenient` reads the others.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Choice", "Chunk", "CustomDelta", "Delta", "FunctionDelta", "ToolCallDelta"]

# gc=False: made from JSON these hold no cycles, and a chunk is decoded a seventh faster without the bookkeeping.
# forbid_unknown_fields: what we do not know may be a part of the response; `everytoken.dialects.openai_chat.lenient` then looks closer.
# Fields of the type `Raw` are known to be none; to skip them costs a tenth of reading them.

_NONE = msgspec.Raw()
_OTHERS = "\ue000"  # no server has a field of this name


class FunctionDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A fragment of a function call: the name normally comes whole, the arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class CustomDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A fragment of a call of a custom tool, whose input is text of any kind."""

    name: str | None = None
    input: str | None = None


class ToolCallDelta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A fragment of one tool call; `index` may be missing, repeated or start at 1.

    `others`: fields that we do not know and a reader may need, such as Google's `extra_content` with its signature.
    """

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None
    type: str | None = None
    custom: CustomDelta | None = None
    others: dict[str, Any] | None = msgspec.field(default=None, name=_OTHERS)

    @property
    def name(self) -> str:
        """The tool's name, "" if the fragment has none."""
        called = self.function or self.custom
        return (called.name if called is not None else None) or ""

    @property
    def arguments(self) -> str:
        """The piece of the arguments, or of a custom tool's input."""
        if self.function is not None:
            return self.function.arguments or ""
        return (self.custom.input if self.custom is not None else None) or ""


class Delta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The increment inside a chunk. `content` is a list of parts where Mistral streams its thinking.

    `others`: fields that we do not know and a reader can see, such as `audio`, `images`, `annotations`.
    """

    role: str | None = None
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionDelta | None = None
    others: dict[str, Any] | None = msgspec.field(default=None, name=_OTHERS)

    @property
    def text(self) -> str:
        """The text of the response in this delta, "" if none; of a list of parts, its text parts joined."""
        content = self.content
        if isinstance(content, str):
            return content
        return text_of_parts(content) if content else ""

    @property
    def has_content(self) -> bool:
        """Whether a reader gets anything of the response: text, reasoning, a refusal or a piece of a call."""
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
            or self.others
        )


class Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
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
    logprobs: msgspec.Raw = _NONE
    native_finish_reason: msgspec.Raw = _NONE
    stop_reason: msgspec.Raw = _NONE
    matched_stop: msgspec.Raw = _NONE
    token_ids: msgspec.Raw = _NONE
    content_filter_results: msgspec.Raw = _NONE


class Groq(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What Groq adds to its first chunk. That of its last has the usage, too, which `lenient` reads."""

    id: msgspec.Raw = _NONE


class Chunk(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One `chat.completion.chunk`.

    `others`: fields beside the deltas that we do not know and a reader can see, such as `citations`. `alive`: it says
    that the model works, as llama.cpp's `prompt_progress` does, and nothing of the response. `odd`: it is one of both, in
    one look.
    """

    id: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None
    created: msgspec.Raw = _NONE
    model: msgspec.Raw = _NONE
    system_fingerprint: msgspec.Raw = _NONE
    service_tier: msgspec.Raw = _NONE
    provider: msgspec.Raw = _NONE
    obfuscation: msgspec.Raw = _NONE
    timings: msgspec.Raw = _NONE
    prompt_filter_results: msgspec.Raw = _NONE
    prompt_token_ids: msgspec.Raw = _NONE
    x_groq: Groq | None = None
    others: dict[str, Any] | None = msgspec.field(default=None, name=_OTHERS)
    alive: bool = msgspec.field(default=False, name=_OTHERS + _OTHERS)
    odd: bool = msgspec.field(default=False, name=_OTHERS + _OTHERS + _OTHERS)

    @property
    def has_content(self) -> bool:
        """Whether it carries content."""
        if self.others:
            return True
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
