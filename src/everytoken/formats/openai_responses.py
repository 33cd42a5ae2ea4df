"""Records of the Responses API as an event stream: each event has the name that its data tells as its type.

`id:` with the offset behind the record stands last, as in `everytoken.formats.openai`. The response's own last event is its
end: there is no `[DONE]`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.formats.openai import KEEP_ALIVE
from everytoken.formats.output import Ending, OutputFormat
from everytoken.json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ResponsesEvents", "encode", "encode_without_ids"]

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
# Nearly every server sends the type first.
_TYPE: Final = re.compile(rb'\{\s*"type"\s*:\s*"([A-Za-z0-9_.-]{1,128})"')
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EVENT: Final = b"event: %b\ndata: %b\nid: %016d\n\n"
_WITHOUT_ID: Final = b"event: %b\ndata: %b\n\n"
_TEXT: Final = b'{"type":"response.output_text.delta",'
_TEXT_EVENT: Final = b"event: response.output_text.delta\ndata: %b\nid: %016d\n\n"
_LF: Final = 10
_CR: Final = 13
_UNNAMED: Final = b"message"


def encode(records: Sequence[bytes], offset: int) -> bytes:
    """Return `records` as events; `offset` is the number of records before the first of them."""
    if len(records) == 1:
        record = records[0]
        # Most are pieces of the text. As in `everytoken.formats.openai`, a byte is looked for by its number.
        if record.startswith(_TEXT) and _LF not in record and _CR not in record:
            return _TEXT_EVENT % (record, offset + 1)
        return _EVENT % (_name_of(record), _in_lines(record), offset + 1)
    return b"".join(
        [
            _EVENT % (_name_of(record), _in_lines(record), number)
            for number, record in enumerate(records, offset + 1)
        ]
    )


def encode_without_ids(records: Sequence[bytes], offset: int) -> bytes:  # noqa: ARG001  # it is nowhere shown
    """Return `records` as events without an `id:` line."""
    return b"".join([_WITHOUT_ID % (_name_of(record), _in_lines(record)) for record in records])


class ResponsesEvents(OutputFormat):
    """Records as events. A body ends cleanly whatever the outcome, because its last event says how the response ended.

    `greets` and `ids`: as for `everytoken.formats.openai.OpenAIEvents`.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, *, greets: bool = True, ids: bool = True) -> None:
        self._greets = greets
        if not ids:
            self.push = encode_without_ids  # decided once, not for each record

    def begin(self) -> bytes:
        """Return the greeting."""
        return KEEP_ALIVE if self._greets else b""

    push = staticmethod(encode)

    def end(self, result: Mapping[str, Any]) -> Ending:  # noqa: ARG002  # the last record has said it
        """Return nothing to add."""
        return Ending()


def _in_lines(record: bytes) -> bytes:
    """Return a record as the value of `data:`; one with line ends goes over several lines, which a decoder joins."""
    if b"\n" in record or b"\r" in record:
        return b"\ndata: ".join(_LINE_END.split(record))
    return record


def _name_of(record: bytes) -> bytes:
    found = _TYPE.match(record)
    if found is not None:
        return found[1]
    value = loads(record)
    name = value.get("type") if isinstance(value, dict) else None
    return name.encode() if isinstance(name, str) and _NAME.fullmatch(name) else _UNNAMED
