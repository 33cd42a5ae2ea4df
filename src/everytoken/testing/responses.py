"""The healthy response in OpenAI's Responses: an answer rendered to events, with places to cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everytoken.testing.answer import tokenise
from everytoken.testing.plan import CREATED, DONE, Plan, in_pieces, to_json
from everytoken.testing.steps import Head, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from everytoken.testing.answer import Answer, ToolCall

__all__ = ["plan_response"]

_PATH = "/v1/responses"
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response repeats of its request, and what it has where the request does not say.
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_REFUSED = {
    "message": "the last input item must not be the assistant's",
    "type": "invalid_request_error",
    "param": "input",
    "code": None,
}


def plan_response(answer: Answer, request: dict[str, Any], *, number: int, now: float = 0.0) -> Plan | Status:
    """Render `answer` for one request (the parsed body of `POST /responses`), or refuse a prefill.

    `number` is the attempt's number, which goes into the ids; `now` is the wall-clock time in seconds since the epoch.
    """
    prefix = _prefix(request)
    if prefix and answer.prefill == "refuse":
        return Status(400, body=to_json({"error": _REFUSED}).encode())
    rendering = _Rendering(answer, request, prefix if answer.prefill == "continue" else "", number)
    return replace(rendering.streamed() if request.get("stream") else rendering.whole(), now=now)


def _items(request: dict[str, Any]) -> list[Any]:
    given = request.get("input")
    return given if isinstance(given, list) else [{"role": "user", "content": given or ""}]


def _prefix(request: dict[str, Any]) -> str:
    last = (_items(request) or [{}])[-1]
    return _text(last) if isinstance(last, dict) and last.get("role") == "assistant" else ""


def _text(item: dict[str, Any]) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


class _Rendering:
    """One answer to one request, on its way to bytes."""

    def __init__(self, answer: Answer, request: dict[str, Any], prefix: str, number: int) -> None:
        self.answer = answer
        self.request = request
        self.prefix = prefix
        self.number = number
        self.limit = request.get("max_output_tokens")
        self.left = answer.after(prefix)
        self.logprobs = answer.logprobs or "message.output_text.logprobs" in (request.get("include") or ())
        texts = [_text(item) for item in _items(request) if isinstance(item, dict)]
        self.input_tokens = sum(len(tokenise(text)) for text in texts)
        self.reasoning = () if prefix else tokenise(answer.reasoning)
        self.output: list[dict[str, Any]] = []
        self.events = 0  # which have their numbers
        self.tokens = 0

    def streamed(self) -> Plan:
        begun = self.response("in_progress", [])
        opening = self.event("response.created", response=begun)
        opening += self.event("response.in_progress", response=begun)
        empty = _bytes(
            {"type": "response.in_progress", "sequence_number": 1, "response": begun},
            escaped=self.answer.escaped,
        )
        pieces: list[bytes] = []
        before = opening
        for event in self.content():
            before += event
            if b'.delta"' in event:
                if not pieces:
                    # What begins the first item comes before the first content.
                    opening, before = before.removesuffix(event), event
                pieces.append(before)
                before = b""
        if not pieces:
            opening, before = before, b""
        failed = {**begun, "status": "failed", "error": {"code": "server_error", "message": "scripted error"}}
        failure = self.event("response.failed", response=failed)
        self.events -= 1
        mark = self.event(f"response.{self.status}", response=self.response(self.status, self.output))
        return Plan(
            Head(),
            (opening,),
            tuple(pieces),
            (before,) if before else (),
            (mark,) if self.answer.done else (),
            self.answer.delay,
            mark=mark,
            empty=empty,
            path=_PATH,
            lone_mark=DONE,
            failure=failure,
        )

    def whole(self) -> Plan:
        for _ in self.content():
            pass  # which collects the output
        data = to_json(self.response(self.status, self.output), escaped=self.answer.escaped).encode()
        head = Head(content_type="application/json", framing="length", length=len(data))
        return Plan(head, (), in_pieces(data), (), streamed=False, path=_PATH)

    # Events

    def event(self, kind: str, **fields: Any) -> bytes:
        value = {"type": kind, "sequence_number": self.events, **fields}
        self.events += 1
        return _bytes(value, escaped=self.answer.escaped)

    def content(self) -> Iterator[bytes]:
        answer = self.answer
        if self.reasoning:
            yield from self.thought()
        tokens = self.left[: self.limit]
        if tokens or answer.refusal:
            yield from self.message(tokens)
        for call in answer.tool_calls:
            yield from self.call(call)

    def item(
        self, kind: str, whole: dict[str, Any], empty: dict[str, Any], between: Iterable[bytes]
    ) -> Iterator[bytes]:
        """Yield the events of an item: what begins it, what comes `between`, and the `whole`."""
        index = len(self.output)
        item = {"id": f"{kind}_{self.number}_{index}", **whole}
        self.output.append(item)
        yield self.event(
            "response.output_item.added",
            output_index=index,
            item={**item, **empty},
        )
        yield from between
        yield self.event("response.output_item.done", output_index=index, item=item)

    def at(self) -> dict[str, Any]:
        """Return where the item that has begun last is."""
        index = len(self.output) - 1
        # Some proxies have another id in each event.
        suffix = f"-{self.events}" if self.answer.ids == "changing" else ""
        return {"item_id": self.output[index]["id"] + suffix, "output_index": index}

    def thought(self) -> Iterator[bytes]:
        whole = {"type": "summary_text", "text": self.answer.reasoning}
        return self.item(
            "rs", {"type": "reasoning", "summary": [whole]}, {"summary": []}, self.summary(whole)
        )

    def summary(self, whole: dict[str, Any]) -> Iterator[bytes]:
        kind = "response.reasoning_summary"
        yield self.event(f"{kind}_part.added", **self.at(), summary_index=0, part={**whole, "text": ""})
        for token in self.reasoning:
            self.tokens += 1
            yield self.event(f"{kind}_text.delta", **self.at(), summary_index=0, delta=token)
        yield self.event(f"{kind}_text.done", **self.at(), summary_index=0, text=whole["text"])
        yield self.event(f"{kind}_part.done", **self.at(), summary_index=0, part=whole)

    def message(self, tokens: tuple[str, ...]) -> Iterator[bytes]:
        parts: list[tuple[dict[str, Any], tuple[str, ...]]] = []
        if self.answer.refusal:
            parts.append(({"type": "refusal", "refusal": self.answer.refusal}, tokenise(self.answer.refusal)))
        if tokens:
            part = {
                "type": "output_text",
                "annotations": [],
                "logprobs": self.odds(tokens),
                "text": "".join(tokens),
            }
            parts.append((part, tokens))
        item = {"type": "message", "role": "assistant", "status": "completed"}
        whole = {**item, "content": [part for part, _ in parts]}
        empty = {"status": "in_progress", "content": []}
        return self.item("msg", whole, empty, self.parts(parts))

    def parts(self, parts: list[tuple[dict[str, Any], tuple[str, ...]]]) -> Iterator[bytes]:
        for index, (part, tokens) in enumerate(parts):
            is_text = part["type"] == "output_text"
            kind, field = ("output_text", "text") if is_text else ("refusal", "refusal")
            empty = {**part, field: "", **({"logprobs": []} if is_text else {})}
            yield self.event("response.content_part.added", **self.at(), content_index=index, part=empty)
            for token in tokens:
                self.tokens += 1
                odds = {"logprobs": self.odds((token,))} if is_text else {}
                yield self.event(
                    f"response.{kind}.delta", **self.at(), content_index=index, delta=token, **odds
                )
            odds = {"logprobs": part["logprobs"]} if is_text else {}
            told = {field: part[field], **odds}
            yield self.event(f"response.{kind}.done", **self.at(), content_index=index, **told)
            yield self.event("response.content_part.done", **self.at(), content_index=index, part=part)

    def call(self, call: ToolCall) -> Iterator[bytes]:
        whole = {
            "type": "function_call",
            "status": "completed",
            "call_id": f"{call.id}_{self.number}",
            "name": call.name,
            "arguments": call.arguments,
        }
        return self.item("fc", whole, {"status": "in_progress", "arguments": ""}, self.arguments(call))

    def arguments(self, call: ToolCall) -> Iterator[bytes]:
        kind = "response.function_call_arguments"
        for token in tokenise(call.arguments):
            self.tokens += 1
            at = self.at()
            if not self.answer.tool_index:
                del at["output_index"]  # as llama.cpp leaves it out
            yield self.event(f"{kind}.delta", **at, delta=token)
        yield self.event(f"{kind}.done", **self.at(), name=call.name, arguments=call.arguments)

    def odds(self, tokens: Iterable[str]) -> list[dict[str, Any]]:
        if not self.logprobs:
            return []
        return [
            {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
            for token in tokens
        ]

    # The response

    @property
    def reason(self) -> str | None:
        """Why the response is incomplete, None if it is not."""
        cut = self.limit is not None and len(self.left) > self.limit
        return _INCOMPLETE.get("length" if cut else self.answer.finish)

    @property
    def status(self) -> str:
        return "incomplete" if self.reason else "completed"

    def response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        ended = status != "in_progress"
        echoed = {name: self.request.get(name, default) for name, default in _ECHOED.items()}
        return {
            "id": f"resp_{self.number}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": self.reason} if status == "incomplete" else None,
            "model": self.request.get("model") or self.answer.model,
            "output": output,
            **echoed,
            "usage": self.usage() if ended else None,
        }

    def usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self.tokens,
            "output_tokens_details": {"reasoning_tokens": len(self.reasoning)},
            "total_tokens": self.input_tokens + self.tokens,
        }


def _bytes(value: dict[str, Any], *, escaped: bool) -> bytes:
    return f"event: {value['type']}\ndata: {to_json(value, escaped=escaped)}\n\n".encode()
