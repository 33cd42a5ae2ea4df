"""What goes over the wire in the benchmark: one request, and chunks that say who they are and when they left.

The upstream is told what to do in the prompt, because that is the one thing every relay passes on unchanged.
Each chunk's content names its response, its number and its sending time, so that the reader can prove that
nothing was lost, doubled, re-ordered or mixed up, and knows how long the chunk was under way.
"""

from __future__ import annotations

import json
import re
from typing import ClassVar, NamedTuple

MODEL = "bench"
PROMPT = re.compile(rb"bench:(\d+):(\d+):(\d+):([01])")
STAMP = re.compile(rb" r(\d{4}) n(\d{5}) t(\d{16})")
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
KEY = "sk-bench-0123456789"  # which a gateway with keys asks for
# What a piece of text looks like; and what a proper ending has, each once.
CONTENT = {
    "chat": re.compile(rb'"content": ?"([^"]*)"'),
    "messages": re.compile(rb'"text_delta", ?"text": ?"([^"]*)"'),
    "responses": re.compile(rb'"delta": ?"([^"]*)"'),
}
ENDING = {
    "chat": [re.compile(rb'"finish_reason": ?"stop"'), re.compile(rb"\[DONE\]")],
    "messages": [re.compile(rb'"stop_reason": ?"end_turn"'), re.compile(rb'"type": ?"message_stop"')],
    "responses": [re.compile(rb'"type": ?"response.completed"')],
}
DONE = b"data: [DONE]\n\n"


class Order(NamedTuple):
    """What one response of the upstream looks like."""

    response: int
    chunks: int
    interval_ms: int  # 0: flat out
    hold: bool  # keep the response open after its last chunk until /release is called

    def prompt(self) -> str:
        return f"bench:{self.response}:{self.chunks}:{self.interval_ms}:{int(self.hold)}"


def read_order(body: bytes) -> Order:
    found = PROMPT.search(body)
    if found is None:
        raise ValueError("the request does not say what to send")
    response, chunks, interval_ms, hold = map(int, found.groups())
    return Order(response, chunks, interval_ms, bool(hold))


def request_body(order: Order, api: str = "chat") -> bytes:
    body: dict[str, object] = {"model": MODEL, "stream": True}
    if api == "responses":
        body["input"] = order.prompt()
    else:
        body["messages"] = [{"role": "user", "content": order.prompt()}]
    if api == "messages":
        body["max_tokens"] = 4096
    return json.dumps(body).encode()


def _event(response: int, delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {
        "id": f"chatcmpl-{response:032x}",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": MODEL,
        "choices": [choice],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Rendered:
    """One response's chunks, rendered but for number and time, each framed as one HTTP chunk."""

    def __init__(self, response: int) -> None:
        self._response = response
        blank = stamp(response, 0, 0)
        self._head, self._tail = _http_chunk(self._piece(blank)).split(blank.encode())

    def _piece(self, text: str) -> bytes:
        return _event(self._response, {"content": text}, None)

    def begin(self) -> bytes:
        """What stands before the first piece of text."""
        return b""

    def chunk(self, number: int, now_us: int) -> bytes:
        return b"%b r%04d n%05d t%016d%b" % (self._head, self._response, number, now_us, self._tail)

    def end(self) -> bytes:
        """Finish chunk, `[DONE]` and the end of the HTTP body."""
        return _http_chunk(_event(self._response, {}, "stop")) + _http_chunk(DONE) + b"0\r\n\r\n"


class RenderedMessage(Rendered):
    """The same as one of Anthropic's Messages."""

    def _piece(self, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        return _named("content_block_delta", index=0, delta=delta)

    def begin(self) -> bytes:
        message = {"id": f"msg_{self._response:032x}", "type": "message", "role": "assistant", "model": MODEL}
        rest = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {"input_tokens": 9, "output_tokens": 1}
        block = {"type": "text", "text": ""}
        return _http_chunk(
            _named("message_start", message={**message, **rest, "usage": usage})
            + _named("content_block_start", index=0, content_block=block)
        )

    def end(self) -> bytes:
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return (
            _http_chunk(
                _named("content_block_stop", index=0)
                + _named("message_delta", delta=delta, usage={"output_tokens": 99})
                + _named("message_stop")
            )
            + b"0\r\n\r\n"
        )


class RenderedResponse(Rendered):
    """The same as one of OpenAI's Responses. Its text at the end is not that of the pieces, which no stack looks at."""

    _AT: ClassVar[dict[str, object]] = {"output_index": 0, "content_index": 0}

    def __init__(self, response: int) -> None:
        self._id = f"msg_{response:032x}"
        self._number = 4
        self._pieces: list[str] = []
        super().__init__(response)

    def _piece(self, text: str) -> bytes:
        at = {"item_id": self._id, **self._AT}
        return _named("response.output_text.delta", **at, delta=text, logprobs=[], sequence_number="N")

    def chunk(self, number: int, now_us: int) -> bytes:
        self._number = 5 + number
        text = stamp(self._response, number, now_us)
        self._pieces.append(text)
        event = self._piece(text).replace(b'"N"', b"%d" % (4 + number))
        return _http_chunk(event)

    def begin(self) -> bytes:
        item = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        first = 0
        return _http_chunk(
            _named(
                "response.created", sequence_number=first, response=self._response_object("in_progress", [])
            )
            + _named(
                "response.in_progress",
                sequence_number=first + 1,
                response=self._response_object("in_progress", []),
            )
            + _named("response.output_item.added", sequence_number=first + 2, output_index=0, item=item)
            + _named(
                "response.content_part.added",
                sequence_number=first + 3,
                item_id=self._id,
                **self._AT,
                part=part,
            )
        )

    def end(self) -> bytes:
        text, number = "".join(self._pieces), self._number
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        item = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        at = {"item_id": self._id, **self._AT}
        return (
            _http_chunk(
                _named("response.output_text.done", sequence_number=number, **at, text=text, logprobs=[])
                + _named("response.content_part.done", sequence_number=number + 1, **at, part=part)
                + _named("response.output_item.done", sequence_number=number + 2, output_index=0, item=item)
                + _named(
                    "response.completed",
                    sequence_number=number + 3,
                    response=self._response_object("completed", [item]),
                )
            )
            + b"0\r\n\r\n"
        )

    def _response_object(self, status: str, output: list[dict[str, object]]) -> dict[str, object]:
        usage = {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 99,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 108,
        }
        return {
            "id": f"resp_{self._response:032x}",
            "object": "response",
            "created_at": 1_790_000_000,
            "status": status,
            "model": MODEL,
            "output": output,
            "usage": usage if status == "completed" else None,
        }


RENDERED = {"chat": Rendered, "messages": RenderedMessage, "responses": RenderedResponse}


def _named(kind: str, **fields: object) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def stamp(response: int, number: int, now_us: int) -> str:
    return f" r{response:04d} n{number:05d} t{now_us:016d}"


class Checker:
    """Reads one response's body and notices everything that is not as it was sent."""

    def __init__(self, order: Order, api: str = "chat") -> None:
        self._order = order
        self._content, self._ending = CONTENT[api], ENDING[api]
        self._rest = b""
        self.received = 0
        self.errors: list[str] = []

    def receive_data(self, data: bytes) -> list[int]:
        """Return the sending times, in µs, of the chunks that became complete."""
        self._rest += data
        sent: list[int] = []
        read = 0
        for found in self._content.finditer(self._rest):
            content = found[1]
            if not content:  # role-only and finish chunks of relays that write their own
                continue
            read = found.end()
            stamped = STAMP.fullmatch(content)
            if stamped is None:
                self.errors.append(f"foreign content {content[:60]!r}")
                continue
            response, number, sent_us = map(int, stamped.groups())
            if (response, number) != (self._order.response, self.received):
                self.errors.append(
                    f"response {self._order.response}: chunk {number} of {response} in place of {self.received}"
                )
            self.received += 1
            sent.append(sent_us)
        self._rest = self._rest[read:]
        return sent

    @property
    def has_all(self) -> bool:
        return self.received >= self._order.chunks

    def receive_eof(self) -> None:
        """Check the ending."""
        if self.received != self._order.chunks:
            self.errors.append(
                f"response {self._order.response}: {self.received} of {self._order.chunks} chunks"
            )
        if any(len(mark.findall(self._rest)) != 1 for mark in self._ending):
            self.errors.append(f"response {self._order.response}: wrong ending {self._rest[-120:]!r}")
