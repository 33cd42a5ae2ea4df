"""A request that belongs to no API: every API is read into it and written from it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "File",
    "Image",
    "JsonOutput",
    "Message",
    "NeutralRequest",
    "Part",
    "Reasoning",
    "Refusal",
    "Role",
    "Text",
    "Tool",
    "ToolCall",
    "ToolResult",
]

Role = Literal["system", "developer", "user", "assistant"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class Text(msgspec.Struct, kw_only=True):
    """Text of a message."""

    text: str


class Image(msgspec.Struct, kw_only=True):
    """An image: a `url`, or `data` in base64 of a `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class File(msgspec.Struct, kw_only=True):
    """A document: a `url`, or `data` in base64 (of text: as it is) of a `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None


class Reasoning(msgspec.Struct, kw_only=True):
    """What the model has thought. `signature` and `encrypted` are the provider's, and mean nothing to another."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None


class Refusal(msgspec.Struct, kw_only=True):
    """What the model has said in place of an answer."""

    text: str


class ToolCall(msgspec.Struct, kw_only=True):
    """A call by the model. `arguments` is JSON text as the model wrote it, or plain text of a `custom` tool."""

    id: str
    name: str
    arguments: str
    custom: bool = False


class ToolResult(msgspec.Struct, kw_only=True):
    """What a call has returned."""

    call_id: str
    parts: list[Text | Image | File]
    is_error: bool = False


Part = Text | Image | File | Reasoning | Refusal | ToolCall | ToolResult


class Message(msgspec.Struct, kw_only=True):
    """A turn, or a part of one: an API that needs turns to alternate joins neighbours of one role."""

    role: Role
    parts: list[Part]


class Tool(msgspec.Struct, kw_only=True):
    """A function that the model may call. `schema`: that of its arguments; None of a `custom` tool, which takes text."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False


class JsonOutput(msgspec.Struct, kw_only=True):
    """The answer is to be JSON. `schema`: of what form; None: any object."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class NeutralRequest(msgspec.Struct, kw_only=True):
    """A request. None, or an empty list: the caller does not say.

    `tool_choice`: `auto`, `none`, `required`, or a tool in a list of one. `budget`: tokens of reasoning, `effort` the same in
    words. `user`: who asks, for the provider's abuse checks. `max_tokens`: of the answer, reasoning included.
    """

    model: str = ""
    messages: list[Message] = []
    tools: list[Tool] = []
    tool_choice: Literal["auto", "none", "required"] | list[str] | None = None
    parallel_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    seed: int | None = None
    output: JsonOutput | None = None
    effort: Effort | None = None
    budget: int | None = None
    shows_reasoning: bool = False
    user: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    stream: bool = False
