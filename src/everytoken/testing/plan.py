"""The healthy response that a fault changes: an answer rendered to bytes, one piece per event, with places to cut."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from everytoken.testing.answer import tokenise
from everytoken.testing.steps import CleanEnd, Head, Send, Status, Step, Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from everytoken.testing.answer import Answer, ToolCall

__all__ = [
    "CREATED",
    "DONE",
    "AtByte",
    "Plan",
    "Position",
    "chunk_of",
    "in_pieces",
    "plan_answer",
    "sse",
    "to_json",
]

CREATED = 1_700_000_000
"""The `created` of every chunk: the same request gets the same bytes."""

DONE = b"data: [DONE]\n\n"
_JSON_PIECES = 8


@dataclass(frozen=True, slots=True)
class AtByte:
    """A position after so many bytes of the body (before compression and framing)."""

    offset: int


Position: TypeAlias = str | int | AtByte
"""`start` (before the first content), `one` (after one chunk), `middle`, `last` (one chunk before the end), `end` (after
all content, before the finish reason), a number of content chunks, or `AtByte`."""


def to_json(value: Any, *, escaped: bool = False) -> str:
    r"""Write JSON compact and in UTF-8, or spaced and with `\uXXXX` escapes as some servers do."""
    if escaped:
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sse(value: Any, *, escaped: bool = False) -> bytes:
    """Return one event with `value` as its JSON data."""
    return f"data: {to_json(value, escaped=escaped)}\n\n".encode()


def in_pieces(data: bytes) -> tuple[bytes, ...]:
    """Cut an answer that is not streamed into the pieces in which it is sent."""
    size = -(-len(data) // _JSON_PIECES)
    return tuple(data[start : start + size] for start in range(0, len(data), size))


def chunk_of(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Return a chunk of a chat completion that is not part of any answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [choice],
    }


@dataclass(frozen=True)
class Plan:
    """One response, ready to be sent: `opening` comes before the first content, `closing` after the last.

    What differs from one API to another: `mark`, the end mark, sent (`done`) or not; `empty`, an event without content;
    the `path` that was asked; `error_frame`, what stands beside the `error` of an error; `lone_mark`, an end mark that
    is none by itself (b"": `mark` is such a one); `failure`, how the API says inside a stream that the answer has failed
    (b"": as chat completions do).
    """

    head: Head
    opening: tuple[bytes, ...]
    content: tuple[bytes, ...]
    closing: tuple[bytes, ...]
    done: tuple[bytes, ...] = ()
    delay: float = 0.0
    streamed: bool = True
    now: float = 0.0
    mark: bytes = DONE
    empty: bytes = sse(chunk_of({"role": "assistant", "content": ""}))
    path: str = "/v1/chat/completions"
    error_frame: dict[str, Any] = field(default_factory=dict)
    lone_mark: bytes = b""
    failure: bytes = b""

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The whole body."""
        return (*self.opening, *self.content, *self.closing, *self.done)

    def index(self, position: str | int) -> int:
        """Return how many content chunks come before `position`."""
        count = len(self.content)
        if isinstance(position, int):
            return min(position, count)
        return {
            "start": 0,
            "one": min(1, count),
            "middle": count // 2,
            "last": max(count - 1, 0),
            "end": count,
        }[position]

    def split(self, position: Position) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the body before and after `position`."""
        if isinstance(position, AtByte):
            return _split_bytes(self.pieces, position.offset)
        cut = len(self.opening) + self.index(position)
        return self.pieces[:cut], self.pieces[cut:]

    def steps(self, pieces: Iterable[bytes]) -> list[Step]:
        """Return the steps that send `pieces`, each after the delay."""
        steps: list[Step] = []
        for piece in pieces:
            if self.delay:
                steps.append(Wait(self.delay))
            steps.append(Send(piece))
        return steps

    def whole(self) -> list[Step]:
        """Return the steps of the healthy response."""
        return [self.head, *self.steps(self.pieces), CleanEnd()]


def _split_bytes(pieces: Sequence[bytes], offset: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    before, after = [], []
    for piece in pieces:
        head, tail = piece[: max(offset, 0)], piece[max(offset, 0) :]
        offset -= len(piece)
        before += [head] if head else []
        after += [tail] if tail else []
    return tuple(before), tuple(after)


def plan_answer(answer: Answer, request: dict[str, Any], *, number: int, now: float = 0.0) -> Plan | Status:
    """Render `answer` for one request (the parsed body of `POST /chat/completions`), or refuse a prefill.

    `number` is the attempt's number, which goes into the ids; `now` is the wall-clock time in seconds since the epoch.
    """
    prefix = _prefix(request)
    if prefix and answer.prefill == "refuse":
        return Status(
            400,
            body=to_json(
                {
                    "error": {
                        "message": "the last message must not be the assistant's",
                        "type": "invalid_request_error",
                        "param": "messages",
                        "code": None,
                    }
                }
            ).encode(),
        )
    rendering = _Rendering(answer, request, prefix if answer.prefill == "continue" else "", number)
    plan = rendering.streamed() if request.get("stream") else rendering.non_streaming()
    return replace(plan, now=now)


def _prefix(request: dict[str, Any]) -> str:
    messages = request.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content") if isinstance(last, dict) and last.get("role") == "assistant" else None
    return content if isinstance(content, str) else ""


class _Rendering:
    """One answer to one request, on its way to bytes."""

    def __init__(self, answer: Answer, request: dict[str, Any], prefix: str, number: int) -> None:
        self.answer = answer
        self.number = number
        self.prefix = prefix
        self.model = request.get("model") or answer.model
        self.count = answer.choices or request.get("n") or 1
        self.logprobs = answer.logprobs or bool(request.get("logprobs"))
        self.usage_asked = bool((request.get("stream_options") or {}).get("include_usage"))
        self.limit = request.get("max_completion_tokens") or request.get("max_tokens")
        self.prompt_tokens = sum(
            len(tokenise(m["content"]))
            for m in request.get("messages") or ()
            if isinstance(m, dict) and isinstance(m.get("content"), str)
        )
        self.chunks = 0

    def tokens(self, choice: int) -> tuple[str, ...]:
        return self.answer.variant(choice).after(self.prefix)[: self.limit]

    def finish(self, choice: int) -> str:
        cut = self.limit is not None and len(self.answer.variant(choice).after(self.prefix)) > self.limit
        return "length" if cut else self.answer.finish

    def streamed(self) -> Plan:
        choices = range(self.count)
        opening = [self.event(c, {"role": "assistant", "content": "", "refusal": None}) for c in choices]
        deltas = [list(self.deltas(choice)) for choice in choices]
        content = [
            self.event(choice, row[step])
            for step in range(max(map(len, deltas)))
            for choice, row in enumerate(deltas)
            if step < len(row)
        ]
        closing = [self.event(choice, {}, self.finish(choice)) for choice in choices]
        if self.usage_asked:
            closing.append(self.chunk([], self.usage()))
        return Plan(
            Head(),
            tuple(opening),
            tuple(content),
            tuple(closing),
            (DONE,) if self.answer.done else (),
            self.answer.delay,
        )

    def deltas(self, choice: int) -> Iterable[dict[str, Any]]:
        answer = self.answer
        if not self.prefix:
            for token in tokenise(answer.reasoning):
                yield {answer.reasoning_field: token}
            for token in tokenise(answer.refusal):
                yield {"refusal": token}
        for token in self.tokens(choice):
            yield {"content": token}
        for index, call in enumerate(answer.tool_calls):
            yield from self.call_deltas(index, call)

    def call_deltas(self, index: int, call: ToolCall) -> Iterable[dict[str, Any]]:
        place = {"index": index} if self.answer.tool_index else {}
        opening = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"tool_calls": [{**place, **opening}]}
        for token in tokenise(call.arguments):
            yield {"tool_calls": [{**place, "function": {"arguments": token}}]}

    def event(self, choice: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        entry: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": finish}
        if self.logprobs:
            token = delta.get("content")
            entry["logprobs"] = _logprobs([token]) if token else None
        return self.chunk([entry])

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        value = self.envelope("chat.completion.chunk") | {"choices": choices}
        if self.usage_asked:
            value["usage"] = usage
        return sse(value, escaped=self.answer.escaped)

    def envelope(self, kind: str) -> dict[str, Any]:
        self.chunks += 1
        suffix = f"-{self.chunks}" if self.answer.ids == "changing" else ""
        return {
            "id": f"chatcmpl-{self.number}{suffix}",
            "object": kind,
            "created": CREATED,
            "model": self.model,
        }

    def usage(self) -> dict[str, Any]:
        completion = sum(len(list(self.deltas(choice))) for choice in range(self.count))
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def non_streaming(self) -> Plan:
        body = self.envelope("chat.completion") | {
            "choices": [self.choice(choice) for choice in range(self.count)],
            "usage": self.usage(),
        }
        data = to_json(body, escaped=self.answer.escaped).encode()
        head = Head(content_type="application/json", framing="length", length=len(data))
        return Plan(head, (), in_pieces(data), (), streamed=False)

    def choice(self, choice: int) -> dict[str, Any]:
        answer, tokens = self.answer, self.tokens(choice)
        text = None if answer.refusal or (answer.tool_calls and not tokens) else "".join(tokens)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": answer.refusal or None}
        if answer.reasoning and not self.prefix:
            message[answer.reasoning_field] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.tool_calls
            ]
        entry = {"index": choice, "message": message, "finish_reason": self.finish(choice)}
        if self.logprobs:
            entry["logprobs"] = _logprobs(tokens)
        return entry


def _logprobs(tokens: Iterable[str]) -> dict[str, Any]:
    content = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}
