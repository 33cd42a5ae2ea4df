"""Faults that leave the answer incomplete: recover it, or raise an error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everytoken.testing.address import Address
from everytoken.testing.fault import ALL_POSITIONS, POSITIONS, Fault, Kind, fault
from everytoken.testing.plan import chunk_of, sse
from everytoken.testing.steps import CleanEnd, Close, Repeat, Reset, Send, SendRaw, Stall, Status, Step, Wait

if TYPE_CHECKING:
    from everytoken.testing.plan import Plan, Position

__all__ = ["ALL", "huge_event"]

_PLAIN_HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\nConnection: close\r\n\r\nplain HTTP\n"
_TLS_ALERT = bytes.fromhex("15 03 03 00 02 02 28")
"""A fatal `handshake_failure` (RFC 8446, section 6)."""
_BEFORE_RESET = 0.02

ADDRESSES = [
    Fault(name, Kind.BROKEN, description, address=address)
    for name, description, address in [
        ("connection-refused", "Nothing listens on the port.", Address()),
        ("dns-failure", "The host name does not exist.", Address(host="upstream.invalid")),
        (
            "tls-plain-text",
            "The TLS handshake is answered in plain HTTP.",
            Address("https", answers=_PLAIN_HTTP),
        ),
        ("tls-alert", "The TLS handshake is refused with an alert.", Address("https", answers=_TLS_ALERT)),
        ("tls-silent", "The TLS handshake is never answered.", Address("https", answers=b"")),
    ]
]


@fault(Kind.BROKEN)
def silent_after_accept(_plan: Plan, _position: Position) -> list[Step]:
    """The connection is accepted, then nothing comes."""
    return [Stall()]


@fault(Kind.BROKEN)
def close_before_head(_plan: Plan, _position: Position) -> list[Step]:
    """The connection is closed (FIN) before any answer."""
    return [Close()]


@fault(Kind.BROKEN)
def reset_before_head(_plan: Plan, _position: Position) -> list[Step]:
    """The connection is reset (RST) before any answer."""
    return [Reset()]


@fault(Kind.BROKEN)
def half_head(_plan: Plan, _position: Position) -> list[Step]:
    """The connection is closed (FIN) inside the headers."""
    return [SendRaw(b"HTTP/1.1 200 OK\r\nContent-Type: text/ev"), Close()]


@fault(Kind.BROKEN)
def garbage_head(_plan: Plan, _position: Position) -> list[Step]:
    """What comes is not HTTP."""
    return [SendRaw(b"\x00\x01 this is not HTTP \xff\r\n\r\n"), Close()]


@fault(Kind.BROKEN)
def silent_after_head(plan: Plan, _position: Position) -> list[Step]:
    """The headers come, then nothing."""
    return [plan.head, Stall()]


def _cut(plan: Plan, position: Position, *ending: Step) -> list[Step]:
    before, _ = plan.split(position)
    return [plan.head, *plan.steps(before), *ending]


@fault(Kind.BROKEN, ALL_POSITIONS)
def silent(plan: Plan, position: Position) -> list[Step]:
    """The answer stops and the connection stays open."""
    return _cut(plan, position, Stall())


@fault(Kind.BROKEN, ALL_POSITIONS, streamed_only=True)
def only_comments(plan: Plan, position: Position) -> list[Step]:
    """Keep-alive comments go on for ever, one a second, and content does not."""
    return _cut(plan, position, Repeat((Wait(1.0), Send(b": keep-alive\n\n"))))


@fault(Kind.BROKEN, ALL_POSITIONS, streamed_only=True)
def only_empty_deltas(plan: Plan, position: Position) -> list[Step]:
    """Chunks without content go on for ever, one a second."""
    return _cut(plan, position, Repeat((Wait(1.0), Send(plan.empty))))


@fault(Kind.BROKEN, ALL_POSITIONS)
def close(plan: Plan, position: Position) -> list[Step]:
    """The connection is closed (FIN) inside the chunked body."""
    return _cut(plan, position, Close())


@fault(Kind.BROKEN, ALL_POSITIONS)
def reset(plan: Plan, position: Position) -> list[Step]:
    """The connection is reset (RST)."""
    # An RST overtakes bytes that the client has not read yet; the pause lets it read them, so that the cut is at `position`.
    return _cut(plan, position, Wait(_BEFORE_RESET), Reset())


@fault(Kind.BROKEN, ALL_POSITIONS)
def clean_end(plan: Plan, position: Position) -> list[Step]:
    """The chunked body ends properly, the answer does not."""
    return _cut(plan, position, CleanEnd())


@fault(Kind.BROKEN, ALL_POSITIONS)
def http10_cut(plan: Plan, position: Position) -> list[Step]:
    """An HTTP/1.0 body, whose end is the connection's, is cut."""
    head = replace(plan.head, framing="close", version="1.0")
    return _cut(replace(plan, head=head), position, Close())


@fault(Kind.BROKEN, ALL_POSITIONS)
def bad_chunk_framing(plan: Plan, position: Position) -> list[Step]:
    """The size of an HTTP chunk is not a number."""
    return _cut(plan, position, SendRaw(b"zz\r\ngarbage\r\n"), Close())


@fault(Kind.BROKEN, ALL_POSITIONS)
def cut_in_event(plan: Plan, position: Position) -> list[Step]:
    """The body ends properly inside an event."""
    _, after = plan.split(position)
    half = after[0][: len(after[0]) // 2] if after else b"data: {"
    return _cut(plan, position, Send(half), CleanEnd())


@fault(Kind.BROKEN, ALL_POSITIONS)
def cut_in_character(plan: Plan, position: Position) -> list[Step]:
    """The body ends properly inside a UTF-8 character."""
    _, after = plan.split(position)
    piece = after[0] if after else b""
    lead = next((index for index, byte in enumerate(piece) if byte >= 0xC0), None)
    # If the event has no character of several bytes, send an unfinished event that has one: neither is content.
    half = (
        piece[: lead + 1]
        if lead is not None
        else b'data: {"choices":[{"index":0,"delta":{"content":"\xe2\x82'
    )
    return _cut(plan, position, Send(half), CleanEnd())


@fault(Kind.BROKEN, ALL_POSITIONS, streamed_only=True)
def done_without_finish(plan: Plan, position: Position) -> list[Step]:
    """`[DONE]` comes without a finish reason."""
    return _cut(plan, position, Send(plan.lone_mark or plan.mark), CleanEnd())


@fault(Kind.BROKEN)
def empty_body(plan: Plan, _position: Position) -> list[Step]:
    """200 with an empty body."""
    return [plan.head, CleanEnd()]


@fault(Kind.BROKEN, streamed_only=True)
def only_done(plan: Plan, _position: Position) -> list[Step]:
    """200 with nothing but `[DONE]`."""
    return [plan.head, Send(plan.lone_mark or plan.mark), CleanEnd()]


@fault(Kind.BROKEN)
def json_instead(_plan: Plan, _position: Position) -> list[Step]:
    """200 with a JSON object that is no answer."""
    return [Status(200, body=b'{"status":"ok"}')]


@fault(Kind.BROKEN)
def html_instead(_plan: Plan, _position: Position) -> list[Step]:
    """200 with a page of HTML."""
    return [Status(200, body=b"<!doctype html><title>Welcome</title>\n", content_type="text/html")]


@fault(Kind.BROKEN, POSITIONS, streamed_only=True)
def garbage_event(plan: Plan, position: Position) -> list[Step]:
    """One event between two good ones holds no JSON."""
    before, after = plan.split(position)
    return [plan.head, *plan.steps([*before, b'data: {"id":"chatcmpl-\xff, garb}\n\n', *after]), CleanEnd()]


@fault(Kind.BROKEN, POSITIONS, streamed_only=True)
def lost_chunk(plan: Plan, position: Position) -> list[Step]:
    """A chunk of content is replaced by garbage."""
    before, after = plan.split(position)
    garbage = b"data: " + after[0][len(after[0]) // 2 :] if after else b"data: }{\n\n"
    return [plan.head, *plan.steps([*before, garbage, *after[1:]]), CleanEnd()]


def huge_event(size: int) -> Fault:
    """Return a fault that makes a chunk of content `size` bytes larger by an unknown field."""

    def build(plan: Plan, position: Position) -> list[Step]:
        before, after = plan.split(position)
        piece = after[0] if after else plan.empty
        huge = piece.replace(b"data: {", b'data: {"padding":"' + b"x" * size + b'",', 1)
        return [plan.head, *plan.steps([*before, huge, *after[1:]]), CleanEnd()]

    text = f"An event of {size / 1_000_000:g} MB."
    return Fault("huge-event", Kind.BROKEN, text, build, POSITIONS, streamed_only=True)


_ERROR = {"message": "scripted error", "type": "server_error", "param": None, "code": "scripted"}
_ERROR_EVENTS = [
    ("object", '`{"error": {…}}` in the stream', sse({"error": _ERROR})),
    ("string", '`{"error": "…"}` in the stream', sse({"error": "scripted error"})),
    ("event", "An event named `error`", b"event: error\n" + sse(_ERROR)),
    ("vllm", '`{"object": "error", …}` in the stream', sse({"object": "error"} | _ERROR)),
    ("type", '`{"type": "error", …}` in the stream', sse(_ERROR | {"type": "error"})),
    (
        "finish-reason",
        'A chunk with `finish_reason: "error"` and an `error`',
        sse(chunk_of({}, "error") | {"error": _ERROR}),
    ),
]


def _error_fault(name: str, description: str, data: bytes, *, mark: bool = False) -> Fault:
    def build(plan: Plan, position: Position) -> list[Step]:
        event = plan.failure if plan.failure and name.startswith("error-finish-reason") else data
        return _cut(
            plan, position, Send(event + ((plan.lone_mark or plan.mark) if mark else b"")), CleanEnd()
        )

    return Fault(name, Kind.BROKEN, description, build, ALL_POSITIONS, streamed_only=True)


def _error_faults() -> list[Fault]:
    return [
        built
        for shape, text, event in _ERROR_EVENTS
        for built in (
            _error_fault(f"error-{shape}", f"{text}, then the end.", event),
            _error_fault(f"error-{shape}-then-done", f"{text}, then `[DONE]`.", event, mark=True),
        )
    ]


ALL = [
    *ADDRESSES,
    silent_after_accept,
    close_before_head,
    reset_before_head,
    half_head,
    garbage_head,
    silent_after_head,
    silent,
    only_comments,
    only_empty_deltas,
    close,
    reset,
    clean_end,
    http10_cut,
    bad_chunk_framing,
    cut_in_event,
    cut_in_character,
    done_without_finish,
    empty_body,
    only_done,
    json_instead,
    html_instead,
    garbage_event,
    lost_chunk,
    huge_event(50_000_000),
    *_error_faults(),
]
