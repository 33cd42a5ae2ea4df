"""A slow, whole-document reading of WHATWG HTML section 9.2.6, to compare the decoder with."""

from __future__ import annotations

import re
from typing import NamedTuple

from everytoken.sse import MAX_RETRY, ServerSentEvent


class Outcome(NamedTuple):
    """All that a stream amounts to."""

    events: list[ServerSentEvent]
    last_event_id: str = ""
    retry: int | None = None
    error: str | None = None


def decode_document(document: bytes) -> Outcome:
    """Interpret a whole stream, step by step as the standard words it."""
    text = document.decode("utf-8", "replace").removeprefix("\ufeff")
    events: list[ServerSentEvent] = []
    data = event_type = id_buffer = last_event_id = ""
    retry = None
    *lines, _unfinished = re.split("\r\n|\n|\r", text)
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data != "":
                events.append(ServerSentEvent(event_type or "message", data[:-1], last_event_id, retry))
            data = event_type = ""
            continue
        if line[0] == ":":
            continue
        field, colon, value = line.partition(":")
        if colon and value[:1] == " ":
            value = value[1:]
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            digits = value.lstrip("0") or "0"
            retry = MAX_RETRY if len(digits) > len(str(MAX_RETRY)) else min(int(digits), MAX_RETRY)
    return Outcome(events, last_event_id, retry)
