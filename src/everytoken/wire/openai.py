"""Records as an OpenAI event stream: `data:` with the record as it came, then `id:` with the offset behind it.

The id stands last, because a client may commit it as soon as it has read the line, and must not lose the data then.
A record's bytes are not touched; inside JSON strings line ends are escaped, so almost every record is one line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.chat.lenient import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DONE", "KEEP_ALIVE", "encode", "error"]

DONE: Final = b"data: [DONE]\n\n"
"""The end of a completed response."""

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment line without a blank line: openai-python, once it has seen an id, takes a blank line for an event."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_LF: Final = 10
_CR: Final = 13
# `10 in data` asks for a byte; `b"\n" in data` asks for a substring and costs an inner exception first (300 ns).

_EVENT: Final = b"data: %b\nid: %016d\n\n"


def encode(records: Sequence[bytes], offset: int) -> bytes:
    """Return `records` as events; `offset` is the number of records before the first of them.

    A record with line ends in it becomes several `data:` lines, which a decoder joins with LF again.
    """
    if len(records) == 1:
        record = records[0]
        if _LF in record or _CR in record:
            return _split_event(record, offset + 1)
        return _EVENT % (record, offset + 1)
    encoded = b"".join([_EVENT % (record, number) for number, record in enumerate(records, offset + 1)])
    # An event has three LF of its own. Looking once at the whole is cheaper than looking at each record.
    if encoded.count(b"\n") == 3 * len(records) and _CR not in encoded:
        return encoded
    return b"".join([_split_event(record, number) for number, record in enumerate(records, offset + 1)])


def error(body: dict[str, Any], offset: int | None = None) -> bytes:
    """Return the error object `body` as the last event of a response that has not completed.

    `offset` is that behind it if it is a record too; None leaves the reader's offset where it is.
    """
    data = dumps(body)
    return b"data: %b\n\n" % data if offset is None else _EVENT % (data, offset)


def _split_event(record: bytes, offset: int) -> bytes:
    return b"data: %b\nid: %016d\n\n" % (b"\ndata: ".join(_LINE_END.split(record)), offset)
