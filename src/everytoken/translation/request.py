"""A request that belongs to no API: every API is read into it and written from it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "EFFORTS",
    "Effort",
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
Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = ("minimal", "low", "medium", "high", "xhigh", "max")


class _Placed(msgspec.Struct, kw_only=True):
    """Something that the caller wrote `at` a path of the request, such as `messages[2].content[0]`."""

    at: str = ""


class Text(_Placed, kw_only=True):
    """Text of a message."""

    text: str


class Image(_Placed, kw_only=True):
    """An image: a `url`, or `data` in base64 of a `media_type`. `detail`: how closely it is to be looked at."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class File(_Placed, kw_only=True):
    """A document: a `url`, or `data` in base64 of a `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None


class Reasoning(_Placed, kw_only=True):
    """What the model has thought. Signatures and encrypted content are left out: no other provider can read them."""

    text: str = ""


class Refusal(_Placed, kw_only=True):
    """What the model has said in place of an answer."""

    text: str


class ToolCall(_Placed, kw_only=True):
    """A call by the model. `arguments` is JSON text as the model wrote it, or plain text of a `custom` tool."""

    id: str
    name: str
    arguments: str
    custom: bool = False


class ToolResult(_Placed, kw_only=True):
    """What a call has returned."""

    call_id: str
    parts: list[Text | Image | File]
    is_error: bool = False


Part = Text | Image | File | Reasoning | Refusal | ToolCall | ToolResult


class Message(_Placed, kw_only=True):
    """A turn, or a part of one: an API that needs turns to alternate joins neighbours of one role.

    Messages of `system` and `developer` have text only, those of `assistant` no results, and only they have calls.
    """

    role: Role
    parts: list[Part]


class Tool(_Placed, kw_only=True):
    """A function that the model may call. `schema`: that of its arguments.

    A `custom` one takes text, of the form that its `grammar` describes: a `syntax` (`lark`, `regex`) and a `definition`.
    """

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: dict[str, str] | None = None


class JsonOutput(msgspec.Struct, kw_only=True):
    """The answer is to be JSON. `schema`: of what form; None: any object."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class NeutralRequest(msgspec.Struct, kw_only=True):
    """A request. None, or an empty list: the caller does not say.

    `tool_choice`: whether tools may or must be called; `allowed`: only these of them. `max_tokens`: of the answer,
    reasoning included. `reasons`: whether reasoning is asked for, `effort` how much, `budget` the same in tokens, `shown`
    what of it is to be seen. `user` and `safety_identifier`: who asks, for the provider's abuse checks. `paths`: where the
    caller wrote a field.
    """

    model: str = ""
    messages: list[Message] = []
    tools: list[Tool] = []
    tool_choice: Literal["auto", "none", "required"] | None = None
    allowed: list[str] = []
    parallel_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    output: JsonOutput | None = None
    reasons: bool | None = None
    effort: Effort | None = None
    budget: int | None = None
    shown: Literal["omitted", "auto", "concise", "detailed"] | None = None
    verbosity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    stream: bool = False
    paths: dict[str, str] = {}

    def path(self, field: str) -> str:
        """Return where the caller wrote what is in `field`."""
        return self.paths.get(field, field)
