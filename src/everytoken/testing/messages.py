"""The healthy response in Anthropic's Messages: an answer rendered to events, with places to cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everytoken.testing.answer import tokenise
from everytoken.testing.plan import Plan, in_pieces, to_json
from everytoken.testing.steps import Head, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.testing.answer import Answer, ToolCall

__all__ = ["count_tokens", "plan_message"]

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
_STOP = {"type": "message_stop"}

Block = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]
"""How a block begins, its deltas, and what it is as a whole."""


def plan_message(answer: Answer, request: dict[str, Any], *, number: int, now: float = 0.0) -> Plan | Status:
    """Render `answer` for one request (the parsed body of `POST /messages`), or refuse a prefill as the API does.

    `number` is the attempt's number, which goes into the ids; `now` is the wall-clock time in seconds since the epoch.
    """
    prefix = _prefix(request)
    problem = _problem_with(prefix, answer, request)
    if problem is not None:
        told = {"type": "error", "error": {"type": "invalid_request_error", "message": problem}}
        return Status(400, body=to_json(told).encode())
    rendering = _Rendering(answer, request, prefix if answer.prefill == "continue" else "", number)
    return replace(rendering.streamed() if request.get("stream") else rendering.whole(), now=now)


def count_tokens(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `POST /messages/count_tokens`."""
    messages = request.get("messages")
    texts = [_text(message) for message in messages or () if isinstance(message, dict)]
    return {"input_tokens": sum(len(tokenise(text)) for text in texts)}


def _problem_with(prefix: str, answer: Answer, request: dict[str, Any]) -> str | None:
    if not prefix:
        return None
    if answer.prefill == "refuse":
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    if prefix != prefix.rstrip():
        return "messages: final assistant content cannot end with trailing whitespace"
    if (request.get("thinking") or {}).get("type") == "enabled":
        return "Expected `thinking` or `redacted_thinking`, but found `text`."
    return None


def _prefix(request: dict[str, Any]) -> str:
    messages = request.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    return _text(last) if isinstance(last, dict) and last.get("role") == "assistant" else ""


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


class _Rendering:
    """One answer to one request, on its way to bytes."""

    def __init__(self, answer: Answer, request: dict[str, Any], prefix: str, number: int) -> None:
        self.answer = answer
        self.number = number
        self.prefix = prefix
        self.model = request.get("model") or answer.model
        self.limit = request.get("max_tokens")
        self.input_tokens = count_tokens(request)["input_tokens"]
        self.blocks = [*self._before(), *self._texts(), *map(self._tool, answer.tool_calls)]

    def streamed(self) -> Plan:
        pieces: list[bytes] = []
        before = self._event({"type": "message_start", "message": self._message([], None, 1)})
        before += self._event({"type": "ping"})
        opening = b""
        for index, (start, deltas, _) in enumerate(self.blocks):
            before += self._event({"type": "content_block_start", "index": index, "content_block": start})
            if not index:
                opening, before = before, b""
            for delta in deltas:
                pieces.append(
                    before + self._event({"type": "content_block_delta", "index": index, "delta": delta})
                )
                before = b""
            before += self._event({"type": "content_block_stop", "index": index})
        told = {"stop_reason": self._reason(), "stop_sequence": None}
        usage = {"output_tokens": self._output_tokens()}
        end = self._event({"type": "message_delta", "delta": told, "usage": usage})
        if not self.blocks:
            opening, before = before, b""
        mark = self._event(_STOP)
        return Plan(
            Head(),
            (opening,),
            tuple(pieces),
            (before + end,),
            (mark,) if self.answer.done else (),
            self.answer.delay,
            mark=mark,
            empty=self._event({"type": "ping"}),
            path="/v1/messages",
            error_frame={"type": "error"},
        )

    def whole(self) -> Plan:
        message = self._message([whole for _, _, whole in self.blocks], self._reason(), self._output_tokens())
        data = to_json(message, escaped=self.answer.escaped).encode()
        head = Head(content_type="application/json", framing="length", length=len(data))
        return Plan(
            head,
            (),
            in_pieces(data),
            (),
            streamed=False,
            path="/v1/messages",
            error_frame={"type": "error"},
        )

    def _event(self, value: dict[str, Any]) -> bytes:
        return f"event: {value['type']}\ndata: {to_json(value, escaped=self.answer.escaped)}\n\n".encode()

    def _message(self, content: list[dict[str, Any]], reason: str | None, output: int) -> dict[str, Any]:
        return {
            "id": f"msg_{self.number}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": self.input_tokens, "output_tokens": output},
        }

    def _before(self) -> Iterator[Block]:
        thought = self.answer.reasoning
        if thought and not self.prefix:
            deltas = [{"type": "thinking_delta", "thinking": token} for token in tokenise(thought)]
            deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
            start = {"type": "thinking", "thinking": "", "signature": ""}
            yield start, deltas, {**start, "thinking": thought, "signature": _SIGNATURE}

    def _texts(self) -> Iterator[Block]:
        tokens = (*tokenise(self.answer.refusal), *self._tokens())
        if tokens:
            deltas = [{"type": "text_delta", "text": token} for token in tokens]
            yield {"type": "text", "text": ""}, deltas, {"type": "text", "text": "".join(tokens)}

    def _tool(self, call: ToolCall) -> Block:
        start = {"type": "tool_use", "id": f"{call.id}_{self.number}", "name": call.name, "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": token} for token in ("", *tokenise(call.arguments))
        ]
        return start, deltas, {**start, "input": call.input}

    def _tokens(self) -> tuple[str, ...]:
        return self.answer.after(self.prefix)[: self.limit]

    def _reason(self) -> str:
        if self.answer.refusal:
            return "refusal"
        cut = self.limit is not None and len(self.answer.after(self.prefix)) > self.limit
        finish = "length" if cut else self.answer.finish
        return _REASONS.get(finish, finish)

    def _output_tokens(self) -> int:
        return sum(len(deltas) for _, deltas, _ in self.blocks)
