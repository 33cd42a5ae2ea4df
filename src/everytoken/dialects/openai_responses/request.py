"""A Responses request: what we check, what we leave alone, and what is sent for it.

Source: the OpenAI API reference ("Create a model response"), and the types of the official SDKs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from everytoken.dialects.fields import flag_in, model_in
from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OWN",
    "ResponsesRequest",
    "non_streaming",
    "prefill",
    "response_id_of",
    "stream_id_of",
    "streaming",
]

OWN: Final = "everytoken"
"""The field of a stored request that is ours and goes to no upstream: what its response objects have to show."""

_PREFIX: Final = "resp_"
_FLAGS: Final = ("stream", "background", "store")
_SOURCES: Final = ("input", "prompt", "previous_response_id", "conversation")
_LOGPROBS: Final = "message.output_text.logprobs"


class ResponsesRequest:
    """A checked Responses request; `body` is the caller's JSON object, unknown fields and all.

    Its field `everytoken`, which a gateway adds, holds fields that response objects show in place of what an upstream
    says, such as `background`. Raises `InvalidRequestError` (its `param` names the field) for what no server could answer.
    """

    dialect: ClassVar[str] = "openai-responses"
    needs_non_streaming: ClassVar[bool] = False
    shows_usage: ClassVar[bool] = True
    """The usage is a part of the last event, asked for or not."""

    __slots__ = ("body", "model", "stream", "stream_id")

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body: dict[str, Any] = dict(body)
        self.stream_id = ""
        for name in _FLAGS:
            flag_in(self.body, name)
        self.model = model_in(self.body)
        self.stream = bool(self.body.get("stream"))
        if all(self.body.get(name) is None for name in _SOURCES):
            raise InvalidRequestError("'input' is required", param="input")
        _check_input(self.body.get("input"))
        previous = self.body.get("previous_response_id")
        if previous is not None and not isinstance(previous, str):
            raise InvalidRequestError("'previous_response_id' must be a string", param="previous_response_id")

    @property
    def shown(self) -> dict[str, Any]:
        """The fields that response objects show, whatever an upstream says."""
        own = self.body.get(OWN)
        shown = dict(own) if isinstance(own, dict) else {}
        return {"id": response_id_of(self.stream_id), **shown} if self.stream_id else shown

    @property
    def has_tools(self) -> bool:
        """Whether a tool call may come behind any text."""
        return bool(self.body.get("tools"))

    @property
    def reasons(self) -> bool:
        """Whether it asks for reasoning, so that a long silence is to be expected."""
        reasoning = self.body.get("reasoning")
        if not isinstance(reasoning, dict):
            return False
        return bool(reasoning) and reasoning.get("effort") not in ("none", "minimal")

    @property
    def has_grammar(self) -> bool:
        """Whether the answer is bound to a grammar."""
        text = self.body.get("text")
        form = text.get("format") if isinstance(text, dict) else None
        return isinstance(form, dict) and form.get("type") in ("json_object", "json_schema")

    @property
    def obstacle(self) -> str | None:
        """Why no attempt can continue a response to it, None if one can."""
        include = self.body.get("include")
        asked = isinstance(include, list) and _LOGPROBS in include
        return "logprobs cannot be continued faithfully" if asked or self.body.get("top_logprobs") else None

    @property
    def seed(self) -> int | None:
        """The caller's seed, which is not in the API but taken by some servers, or None."""
        seed = self.body.get("seed")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def response_id_of(stream_id: str) -> str:
    """Return the id of the response that is kept in a stream."""
    return _PREFIX + stream_id


def stream_id_of(response_id: str) -> str | None:
    """Return the stream of a response by its id; None for an id that we have not given."""
    return response_id.removeprefix(_PREFIX) if response_id.startswith(_PREFIX) else None


def streaming(
    request: Any, *, model: str | None, seed: int | None, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body of a streamed attempt; see `everytoken.dialects.dialect.Dialect.body`."""
    body = {**extra, **request.body, "stream": True}
    body.pop(OWN, None)
    if model is not None:
        body["model"] = model
    if seed is not None and body.get("seed") is None:
        body["seed"] = seed
    return body


def prefill(body: Mapping[str, Any], text: str, *, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` with `text` as an assistant message behind the input."""
    given = body.get("input")
    before = [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())
    return {**body, **extra, "input": [*before, {"role": "assistant", "content": text}]}


def non_streaming(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` asking for the answer in one piece."""
    return {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}


def _check_input(given: Any) -> None:
    if given is None or isinstance(given, str):
        return
    if not isinstance(given, list):
        raise InvalidRequestError("'input' must be a string or a list of items", param="input")
    for position, item in enumerate(given):
        if not isinstance(item, dict):
            raise InvalidRequestError("each item must be an object", param=f"input[{position}]")
