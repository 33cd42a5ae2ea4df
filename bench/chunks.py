"""What goes over the wire in the benchmark: one request, and chunks that say who they are and when they left.

The upstream is told what to do in the prompt, because that is the one thing every relay passes on unchanged.
Each chunk's content names its response, its number and its sending time, so that the reader can prove that
nothing was lost, doubled, re-ordered or mixed up, and knows how long the chunk was under way.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

MODEL = "bench"
PROMPT = re.compile(rb"bench:(\d+):(\d+):(\d+):([01])")
CONTENT = re.compile(rb'"content": ?"([^"]*)"')
STAMP = re.compile(rb" r(\d{4}) n(\d{5}) t(\d{16})")
FINISH = re.compile(rb'"finish_reason": ?"stop"')
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


def request_body(order: Order) -> bytes:
    message = {"role": "user", "content": order.prompt()}
    return json.dumps({"model": MODEL, "stream": True, "messages": [message]}).encode()


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
        self._head, self._tail = _http_chunk(_event(response, {"content": blank}, None)).split(blank.encode())

    def chunk(self, number: int, now_us: int) -> bytes:
        return b"%b r%04d n%05d t%016d%b" % (self._head, self._response, number, now_us, self._tail)

    def end(self) -> bytes:
        """Finish chunk, `[DONE]` and the end of the HTTP body."""
        return _http_chunk(_event(self._response, {}, "stop")) + _http_chunk(DONE) + b"0\r\n\r\n"


def stamp(response: int, number: int, now_us: int) -> str:
    return f" r{response:04d} n{number:05d} t{now_us:016d}"


class Checker:
    """Reads one response's body and notices everything that is not as it was sent."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._rest = b""
        self.received = 0
        self.errors: list[str] = []

    def receive_data(self, data: bytes) -> list[int]:
        """Return the sending times, in µs, of the chunks that became complete."""
        self._rest += data
        sent: list[int] = []
        read = 0
        for found in CONTENT.finditer(self._rest):
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
        if not FINISH.search(self._rest) or self._rest.count(b"[DONE]") != 1:
            self.errors.append(f"response {self._order.response}: wrong ending {self._rest[-120:]!r}")
