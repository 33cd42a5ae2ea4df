"""Records as an OpenAI event stream: `data:` with the record as it came, then `id:` with the offset behind it.

The id stands last, because a client may commit it as soon as it has read the line, and must not lose the data then.
A record's bytes are not touched; inside JSON strings line ends are escaped, so almost every record is one line.
"""

from __future__ import annotations

import re
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from everytoken.formats.output import Ending, OutputFormat
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DONE", "KEEP_ALIVE", "OpenAIEvents", "encode", "error"]

DONE: Final = b"data: [DONE]\n\n"
"""The end of a completed response."""

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment line without a blank line: openai-python, once it has seen an id, takes a blank line for an event."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
# `10 in data` asks for a byte; `b"\n" in data` asks for a substring, which raises inside first and costs 300 ns.
_LF: Final = 10
_CR: Final = 13

_EVENT: Final = b"data: %b\nid: %016d\n\n"
# The same in pieces, for many: formatting numbers costs more than all else, so the last three digits lie ready.
_DATA: Final = b"data: "
_ID: Final = b"\nid: %013d"
_TAILS: Final = [b"%03d\n\n" % number for number in range(1000)]


def encode(records: Sequence[bytes], offset: int) -> bytes:
    """Return `records` as events; `offset` is the number of records before the first of them.

    A record with line ends in it becomes several `data:` lines, which a decoder joins with LF again.
    """
    if len(records) == 1:
        record = records[0]
        if _LF in record or _CR in record:
            return _split_event(record, offset + 1)
        return _EVENT % (record, offset + 1)
    if _have_line_end(records):
        return b"".join([_split_event(record, number) for number, record in enumerate(records, offset + 1)])
    parts: list[bytes] = []
    position = 0
    while position < len(records):
        thousands, first = divmod(offset + 1 + position, 1000)
        tails = _TAILS[first : first + len(records) - position]
        batch = records[position : position + len(tails)]
        parts += chain.from_iterable(zip(repeat(_DATA), batch, repeat(_ID % thousands), tails, strict=False))
        position += len(tails)
    return b"".join(parts)


def encode_without_ids(records: Sequence[bytes], offset: int) -> bytes:  # noqa: ARG001  # it is nowhere shown
    """Return `records` as events that have data and nothing else."""
    if _have_line_end(records):
        records = [b"\ndata: ".join(_LINE_END.split(record)) for record in records]
    return b"data: %b\n\n" % b"\n\ndata: ".join(records) if records else b""


class OpenAIEvents(OutputFormat):
    """Records as events, with `[DONE]` behind those of a completed response, and only those.

    The records of a response that did not complete end in its error, so nothing has to be added for it. `greets`: send a
    keep-alive as the first byte when there is nothing to send yet. Proxies such as Next.js's hold the head back until
    there is one, and the reader would know neither that it is connected nor, behind a POST, the stream's id. `ids`: whether
    events have an `id:` line; some loops take every line that is not empty for data. `end_mark`: what stands in place of
    `[DONE]` in another dialect.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, *, greets: bool = True, ids: bool = True, end_mark: bytes = DONE) -> None:
        self._greets = greets
        self._end_mark = end_mark
        if not ids:
            self.push = encode_without_ids  # decided once, not for each record

    def begin(self) -> bytes:
        """Return the greeting."""
        return KEEP_ALIVE if self._greets else b""

    push = staticmethod(encode)

    def end(self, result: Mapping[str, Any]) -> Ending:
        """Return the end mark, if `result` says that the response was completed."""
        return Ending([self._end_mark] if self._end_mark and result.get("outcome") == "completed" else ())


def error(body: dict[str, Any], offset: int | None = None) -> bytes:
    """Return the error object `body` as the last event of a response that has not completed.

    `offset` is that behind it if it is a record too; None leaves the reader's offset where it is.
    """
    data = dumps(body)
    return b"data: %b\n\n" % data if offset is None else _EVENT % (data, offset)


def _have_line_end(records: Sequence[bytes]) -> bool:
    """Look once at all of them, which is cheaper than looking at each."""
    together = b"".join(records)
    return _LF in together or _CR in together


def _split_event(record: bytes, offset: int) -> bytes:
    return _EVENT % (b"\ndata: ".join(_LINE_END.split(record)), offset)
