"""Every limit on what comes in, in one table: what is limited, where the number is set, and what happens at it.

`docs/limits.md` is made from it (`python tools/limits_docs.py`).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One row.

    `setting`: the setting of `Config` that holds the number, or "" for a constant. `number`: the number with its unit,
    for a constant. `overflow`: what a caller or an upstream sees at the limit. `reason`: why the number is what it is.
    """

    what: str
    setting: str
    number: str
    overflow: str
    reason: str


LIMITS: list[Limit] = [
    Limit(
        "responses running at once",
        "max_running",
        "",
        "the request waits",
        "what one model server can take; each upstream has a `max_running` of its own, too",
    ),
    Limit(
        "requests waiting for a place",
        "queue",
        "",
        "503 `overloaded` with `Retry-After`; if another key has more waiting, its last is a 429 instead",
        "waiting behind a thousand others is worse than trying again",
    ),
    Limit(
        "time a request waits for a place",
        "queue_timeout",
        "",
        "503 `overloaded` with `Retry-After`",
        "as long as a person waits for something to happen",
    ),
    Limit(
        "refusals of wrong keys that one address waits for",
        "",
        "16 at once, up to 5 s each",
        "429 `rate-limited`",
        "guessing is slow, and nobody with a right key is held up",
    ),
    Limit(
        "probes of `everytoken doctor` at once",
        "",
        "64, of 100 events and 900 s of silence at most",
        "503 `overloaded` with `Retry-After`; 400 `invalid-request` for more events",
        "one run of it makes six",
    ),
    Limit(
        "all connections",
        "max_connections",
        "",
        "503 `overloaded`, and the connection is closed; over TLS it is only closed",
        "half of the system's limit for open files, if that is less: a response needs a connection on each side",
    ),
    Limit(
        "connections from one address",
        "max_address_connections",
        "",
        "503 `overloaded`, and the connection is closed; over TLS it is only closed",
        "behind a proxy, all connections come from one address; an IPv6 /64 counts as one address",
    ),
    Limit(
        "request head",
        "max_head",
        "",
        "431 `head-too-large`",
        "eight times nginx's default",
    ),
    Limit(
        "request head and trailers, lines",
        "max_header_lines",
        "",
        "431 `head-too-large`",
        "browsers send about twenty",
    ),
    Limit(
        "headers passed on, in each direction",
        "",
        "32, and 8 KiB together",
        "the rest is dropped",
        "the defaults of `pass_up` and `pass_down` are about ten headers of some hundred bytes",
    ),
    Limit(
        "URL",
        "max_url",
        "",
        "414 `url-too-long`",
        "as in nginx",
    ),
    Limit(
        "time until a request head is complete",
        "head_timeout",
        "",
        "408 `request-timeout`; a connection that sent nothing is closed without an answer",
        "a head fits into one packet; nginx waits 60 s",
    ),
    Limit(
        "time between two reads of a request body",
        "body_timeout",
        "",
        "408 `request-timeout`",
        "half of nginx's default",
    ),
    Limit(
        "time an idle connection is kept",
        "idle_timeout",
        "",
        "the connection is closed",
        "as in nginx",
    ),
    Limit(
        "request body",
        "max_body",
        "",
        "413 `request-too-large`",
        "room for images in a conversation",
    ),
    Limit(
        "all request bodies being received",
        "max_bodies",
        "",
        "503 `overloaded` with `Retry-After`",
        "eight of the largest bodies at once",
    ),
    Limit(
        "nesting levels in a request",
        "",
        "512",
        "400 `invalid-request` with the path of the field",
        "half of what the encoder supports",
    ),
    Limit(
        "values in a request",
        "",
        "1,000,000",
        "400 `invalid-request`",
        "an empty list takes 20 times as much memory as text",
    ),
    Limit(
        "integers in a request",
        "",
        "-2^63 to 2^64-1",
        "400 `invalid-request` with the path of the field",
        "what the journal's encoding supports",
    ),
    Limit(
        "data that upstreams send for one response, over all attempts",
        "max_response",
        "",
        "`interrupted` with `response-too-large`",
        "a hundred times a long response",
    ),
    Limit(
        "duration of a response",
        "max_duration",
        "",
        "`interrupted` with `response-too-long`",
        "nobody waits that long for a response",
    ),
    Limit(
        "time a response continues without a reader",
        "grace",
        "",
        "the response is stopped",
        "a page reload takes a few",
    ),
    Limit(
        "the same, if the caller asks for longer",
        "max_grace",
        "",
        "the limit is used",
        "the duration that a response may have",
    ),
    Limit(
        "data without content between two pieces of content",
        "",
        "16 MiB; each event counts 256 bytes more",
        "the attempt has failed",
        "a keep-alive comment has 15 bytes",
    ),
    Limit(
        "chunks held back until the first content",
        "",
        "256, or 1 MiB",
        "passed on",
        "until then, a retry can start afresh",
    ),
    Limit(
        "tool calls of an answer",
        "",
        "1,024",
        "the attempt has failed with `malformed-event`",
        "far more than any answer has",
    ),
    Limit(
        "characters of a tool's name that arrives in pieces",
        "",
        "1,024",
        "the attempt has failed with `malformed-event`",
        "each piece is compared with what has arrived",
    ),
    Limit(
        "index of a choice",
        "",
        "0 to 128",
        "the attempt has failed with `malformed-event`",
        "the largest `n` that a request may have",
    ),
    Limit(
        "nesting levels in what an upstream sends",
        "",
        "128",
        "the attempt has failed with `malformed-event`",
        "joining chunks uses two stack levels for each",
    ),
    Limit(
        "values in an event, in a response without streaming, in a list of models",
        "",
        "1,000,000",
        "the attempt has failed with `malformed-event`",
        "an empty list takes 20 times as much memory as text",
    ),
    Limit(
        "data decompressed in one turn of the event loop",
        "",
        "256 KiB",
        "the rest waits for the next turn",
        "the size of one read",
    ),
    Limit(
        "an upstream's event or line",
        "",
        "16 MiB",
        "the attempt has failed with `event-too-large`",
        "inline images are the largest events",
    ),
    Limit(
        "a non-streaming response",
        "",
        "16 MiB",
        "the attempt has failed",
        "the same as for an event",
    ),
    Limit(
        "an upstream's response head",
        "",
        "64 KiB",
        "the attempt has failed with `remote-protocol-error`",
        "twice what nginx allows",
    ),
    Limit(
        "an upstream's error body",
        "",
        "64 KiB",
        "the rest is cut off",
        "an error message, not an answer",
    ),
    Limit(
        "a caller's own stream, as stored",
        "max_stream",
        "",
        "413 `stream-full`",
        "four times the largest response",
    ),
    Limit(
        "producers of a stream",
        "",
        "1,000",
        "413 `stream-full`",
        "each has to be remembered",
    ),
    Limit(
        "all streams of a key",
        "max_key_bytes",
        "",
        "429 `quota-exceeded`",
        "half of the journal's limit",
    ),
    Limit(
        "streams of a key",
        "max_key_streams",
        "",
        "429 `quota-exceeded`",
        "a client has one per conversation; what the gateway itself notes of the chats of `/api/chat` does not count",
    ),
    Limit(
        "the whole journal (except Redis)",
        "max_journal",
        "",
        "the oldest ended streams are removed; if the open ones fill it, or callers' own streams fill half of it: 507 `journal-full`",
        "other programs use the disk too",
    ),
    Limit(
        "entries of the request log",
        "",
        "as many as a quarter of `max_journal` has room for: 838,860 of 2 GiB",
        "the oldest hours go; an hour that alone has more starts over",
        "an entry takes about 640 bytes",
    ),
    Limit(
        "`Idempotency-Key`, characters",
        "",
        "255",
        "400 `invalid-request`",
        "a UUID has 36",
    ),
    Limit(
        "name of a stream, characters",
        "",
        "128",
        "400 `invalid-request`",
        "it is a part of a URL",
    ),
    Limit(
        "log lines about refusals",
        "",
        "one per second and kind",
        "counted, and reported with the next",
        "a flood must not fill the disk",
    ),
]
