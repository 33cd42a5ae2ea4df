"""Odd responses with a complete answer: they are passed on exactly."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from everytoken.testing.answer import Answer, ToolCall
from everytoken.testing.fault import POSITIONS, Fault, Kind, fault
from everytoken.testing.steps import CleanEnd, Send, Stall, Step, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.testing.plan import Plan, Position

__all__ = ["ALL"]

_GZIP = 16 + zlib.MAX_WBITS


def _each(plan: Plan, change: Callable[[bytes], bytes]) -> list[Step]:
    return [plan.head, *plan.steps(map(change, plan.pieces)), CleanEnd()]


def _without_done(plan: Plan, *ending: Step) -> list[Step]:
    return [plan.head, *plan.steps((*plan.opening, *plan.content, *plan.closing)), *ending]


@fault(Kind.HEALTHY, streamed_only=True)
def thinking_silence(plan: Plan, _position: Position) -> list[Step]:
    """20 s with nothing but keep-alive comments, then the answer."""
    pauses: list[Step] = [Wait(5.0), Send(b": thinking\n\n")] * 4
    before, after = plan.split("start")
    return [plan.head, *plan.steps(before), *pauses, *plan.steps(after), CleanEnd()]


@fault(Kind.HEALTHY, streamed_only=True)
def slow_gaps(plan: Plan, _position: Position) -> list[Step]:
    """One second before each chunk."""
    return replace(plan, delay=1.0).whole()


@fault(Kind.HEALTHY)
def gzip(plan: Plan, _position: Position) -> list[Step]:
    """The body is compressed although nobody asked."""
    compressor = zlib.compressobj(wbits=_GZIP)
    head = replace(plan.head, headers=(*plan.head.headers, ("Content-Encoding", "gzip")))
    pieces = [compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH) for piece in plan.pieces]
    return [head, *plan.steps([*pieces, compressor.flush()]), CleanEnd()]


@fault(Kind.HEALTHY, streamed_only=True)
def cr_lines(plan: Plan, _position: Position) -> list[Step]:
    """Lines end with CR."""
    return _each(plan, lambda piece: piece.replace(b"\n", b"\r"))


@fault(Kind.HEALTHY, streamed_only=True)
def crlf_lines(plan: Plan, _position: Position) -> list[Step]:
    """Lines end with CRLF."""
    return _each(plan, lambda piece: piece.replace(b"\n", b"\r\n"))


@fault(Kind.HEALTHY, streamed_only=True)
def no_space_data(plan: Plan, _position: Position) -> list[Step]:
    """`data:` comes without the space."""
    return _each(plan, lambda piece: piece.replace(b"data: ", b"data:", 1))


@fault(Kind.HEALTHY, streamed_only=True)
def multi_line_data(plan: Plan, _position: Position) -> list[Step]:
    """The data of an event goes over two lines."""
    # JSON allows a line end after its first brace, and the lines of an event's data are joined with one.
    return _each(plan, lambda piece: piece.replace(b"data: {", b"data: {\ndata: ", 1))


@fault(Kind.HEALTHY, streamed_only=True)
def bom(plan: Plan, _position: Position) -> list[Step]:
    """The stream begins with a byte order mark."""
    first, *rest = plan.pieces
    return [plan.head, *plan.steps([b"\xef\xbb\xbf" + first, *rest]), CleanEnd()]


@fault(Kind.HEALTHY, streamed_only=True)
def no_done(plan: Plan, _position: Position) -> list[Step]:
    """There is a finish reason and no `[DONE]`."""
    return _without_done(plan, CleanEnd())


@fault(Kind.HEALTHY, streamed_only=True)
def cut_in_done(plan: Plan, _position: Position) -> list[Step]:
    """The body ends inside `[DONE]`, after the finish reason."""
    return _without_done(plan, Send(plan.mark[:9]), CleanEnd())


@fault(Kind.HEALTHY, streamed_only=True)
def trailing_bytes(plan: Plan, _position: Position) -> list[Step]:
    """Bytes come after `[DONE]`, one more chunk among them."""
    ghost = b'data: {"choices":[{"index":0,"delta":{"content":"GHOST"}}]}\n\n\x00\xfftrailing'
    return _without_done(plan, Send(plan.mark + ghost), CleanEnd())


@fault(Kind.HEALTHY, streamed_only=True)
def done_left_open(plan: Plan, _position: Position) -> list[Step]:
    """`[DONE]` comes and the connection stays open."""
    return _without_done(plan, Send(plan.mark), Stall())


@fault(Kind.HEALTHY, POSITIONS, streamed_only=True)
def garbage_line(plan: Plan, position: Position) -> list[Step]:
    """A line without a colon comes between two events, which readers must ignore (WHATWG, section 9.2.6)."""
    before, after = plan.split(position)
    return [plan.head, *plan.steps([*before, b"%% garbage without a colon %%\n\n", *after]), CleanEnd()]


def _changing_ids(answer: Answer, _position: Position) -> Answer:
    return replace(answer, ids="changing")


def _missing_tool_index(answer: Answer, _position: Position) -> Answer:
    calls = answer.tool_calls or (ToolCall("get_weather", '{"city": "Zürich"}'),)
    return replace(answer, tool_calls=calls, tool_index=False)


def _several_choices(answer: Answer, _position: Position) -> Answer:
    return replace(answer, choices=2)


def _spaced_json(answer: Answer, _position: Position) -> Answer:
    return replace(answer, escaped=True)


def _repeated_chunk(answer: Answer, position: Position) -> Answer:
    tokens = answer.tokens
    names = {"one": 1, "middle": len(tokens) // 2, "last": len(tokens) - 1, "end": len(tokens)}
    index = position if isinstance(position, int) else names.get(str(position), 1)
    index = max(1, min(index, len(tokens)))
    return replace(answer, content=(*tokens[:index], tokens[index - 1], *tokens[index:]))


_REWRITES = [
    Fault("changing-ids", Kind.HEALTHY, "Each chunk has another id.", rewrite=_changing_ids),
    Fault(
        "missing-tool-index", Kind.HEALTHY, "Tool-call deltas have no `index`.", rewrite=_missing_tool_index
    ),
    Fault(
        "several-choices",
        Kind.HEALTHY,
        "Two choices come, one chunk of each in turn.",
        rewrite=_several_choices,
    ),
    Fault("spaced-json", Kind.HEALTHY, "JSON has spaces and `\\uXXXX` escapes.", rewrite=_spaced_json),
    Fault(
        "repeated-chunk",
        Kind.HEALTHY,
        "A chunk equals the one before it: it is text.",
        positions=("one", "middle", "last", "end"),
        rewrite=_repeated_chunk,
    ),
]

ALL = [
    thinking_silence,
    slow_gaps,
    gzip,
    cr_lines,
    crlf_lines,
    no_space_data,
    multi_line_data,
    bom,
    no_done,
    cut_in_done,
    trailing_bytes,
    done_left_open,
    garbage_line,
    *_REWRITES,
]
