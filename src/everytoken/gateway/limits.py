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
        "responses that run at once",
        "max_running",
        "",
        "the request waits",
        "what one model server can take; each upstream has a `max_running` of its own, too",
    ),
    Limit(
        "requests that wait for a place",
        "queue",
        "",
        "503 `overloaded` with `Retry-After`; if another key has more waiting, its last is a 429 instead",
        "waiting behind a thousand others is worse than trying again",
    ),
    Limit(
        "time that a request waits for a place",
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
        "connections in all",
        "max_connections",
        "",
        "503 `overloaded`, and the connection is closed; over TLS it is only closed",
        "half of what the system allows to be open, where that is less: a response needs one here and one upstream",
    ),
    Limit(
        "connections from one address",
        "max_address_connections",
        "",
        "503 `overloaded`, and the connection is closed; over TLS it is only closed",
        "behind a proxy all come from one address; of IPv6, a /64 counts as one",
    ),
    Limit(
        "bytes of a request's head",
        "max_head",
        "",
        "431 `head-too-large`",
        "eight times what nginx takes",
    ),
    Limit(
        "lines in it, and in trailers",
        "max_header_lines",
        "",
        "431 `head-too-large`",
        "browsers send about twenty",
    ),
    Limit(
        "headers passed on, each way",
        "",
        "32, of 8 KiB together",
        "the rest is left out",
        "what `pass_up` and `pass_down` name by default is about ten, and some hundred bytes",
    ),
    Limit(
        "bytes of a URL",
        "max_url",
        "",
        "414 `url-too-long`",
        "as in nginx",
    ),
    Limit(
        "seconds until a head is complete",
        "head_timeout",
        "",
        "408 `request-timeout`; nothing at all is closed without an answer",
        "a head is one packet; nginx waits 60",
    ),
    Limit(
        "seconds between two reads of a body",
        "body_timeout",
        "",
        "408 `request-timeout`",
        "half of what nginx waits",
    ),
    Limit(
        "seconds a connection is kept without a request",
        "idle_timeout",
        "",
        "it is closed",
        "as in nginx",
    ),
    Limit(
        "bytes of a request body",
        "max_body",
        "",
        "413 `request-too-large`",
        "images in a conversation",
    ),
    Limit(
        "bytes of all bodies that are being received",
        "max_bodies",
        "",
        "503 `overloaded` with `Retry-After`",
        "eight of the largest at once",
    ),
    Limit(
        "levels of nesting in a request",
        "",
        "512",
        "400 `invalid-request` with the path of the field",
        "half of what encoding can take",
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
        "what the journal's encoding has",
    ),
    Limit(
        "bytes an upstream sends for a response, over all attempts",
        "max_response",
        "",
        "`interrupted` with `response-too-large`",
        "a long response has a hundredth of it",
    ),
    Limit(
        "seconds a response takes",
        "max_duration",
        "",
        "`interrupted` with `response-too-long`",
        "nobody waits that long for a response",
    ),
    Limit(
        "seconds a response continues without a reader",
        "grace",
        "",
        "it is stopped",
        "a reload takes a few",
    ),
    Limit(
        "seconds that a caller can ask for instead",
        "max_grace",
        "",
        "the limit counts",
        "as long as a response may take",
    ),
    Limit(
        "bytes without content between two pieces",
        "",
        "16 MiB; an event counts 256 more",
        "the attempt has failed",
        "a keep-alive has 15 bytes",
    ),
    Limit(
        "chunks held back until the first content",
        "",
        "256, or 1 MiB",
        "passed on",
        "a retry has to start from a clean slate",
    ),
    Limit(
        "tool calls of an answer",
        "",
        "1,024",
        "the attempt has failed with `malformed-event`",
        "far more than any answer has",
    ),
    Limit(
        "characters of a tool's name that comes in pieces",
        "",
        "1,024",
        "the attempt has failed with `malformed-event`",
        "a piece is compared with all that has come",
    ),
    Limit(
        "the index of a choice",
        "",
        "0 to 128",
        "the attempt has failed with `malformed-event`",
        "the largest `n` that a request may have",
    ),
    Limit(
        "levels of nesting in what an upstream sends",
        "",
        "128",
        "the attempt has failed with `malformed-event`",
        "joining chunks takes two levels of the stack for each",
    ),
    Limit(
        "values in an event, in a response without streaming, in a list of models",
        "",
        "1,000,000",
        "the attempt has failed with `malformed-event`",
        "an empty list takes 20 times as much memory as text",
    ),
    Limit(
        "bytes that are inflated in one turn of the loop",
        "",
        "256 KiB",
        "the rest waits for the next turn",
        "as much as one read has",
    ),
    Limit(
        "bytes of an event from an upstream, and of a line",
        "",
        "16 MiB",
        "the attempt has failed with `event-too-large`",
        "inline images are the largest",
    ),
    Limit(
        "bytes of a response without streaming",
        "",
        "16 MiB",
        "the attempt has failed",
        "as for an event",
    ),
    Limit(
        "bytes of an upstream's head",
        "",
        "64 KiB",
        "the attempt has failed with `remote-protocol-error`",
        "twice what nginx allows",
    ),
    Limit(
        "bytes of an upstream's error",
        "",
        "64 KiB",
        "cut",
        "an error message, not an answer",
    ),
    Limit(
        "bytes of a caller's own stream, as the journal keeps them",
        "max_stream",
        "",
        "413 `stream-full`",
        "four of the largest responses",
    ),
    Limit(
        "producers that a stream knows",
        "",
        "1,000",
        "413 `stream-full`",
        "it has to remember every one",
    ),
    Limit(
        "bytes of all streams that a key has made",
        "max_key_bytes",
        "",
        "429 `quota-exceeded`",
        "half of what the journal may take",
    ),
    Limit(
        "streams that a key has made",
        "max_key_streams",
        "",
        "429 `quota-exceeded`",
        "a client has one for each conversation",
    ),
    Limit(
        "bytes of everything in the journal, except in Redis",
        "max_journal",
        "",
        "the oldest that have ended are removed; when what is open takes it all, or half of it for callers' own streams, 507 `journal-full`",
        "a disk that others use too",
    ),
    Limit(
        "characters of an `Idempotency-Key`",
        "",
        "255",
        "400 `invalid-request`",
        "a UUID has 36",
    ),
    Limit(
        "characters of a stream's name",
        "",
        "128",
        "400 `invalid-request`",
        "it is a part of a URL",
    ),
    Limit(
        "lines in the log about refusals",
        "",
        "one a second of each kind",
        "counted, and reported with the next",
        "a flood must not fill the disk",
    ),
]
