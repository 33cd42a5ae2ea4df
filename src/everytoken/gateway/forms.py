"""Where a multipart form names the model: as much of it is kept as comes before that, and no more."""

from __future__ import annotations

import re
from email.message import Message
from typing import Final

from everytoken.errors import InvalidRequestError

__all__ = ["ModelField"]

_NAME: Final = re.compile(rb'(?i)content-disposition:[^\r\n]*?;[ \t]*name=(?:"([^"\r\n]*)"|([^;\r\n]*))')
_MAX_HEAD: Final = 16 * 1024  # bytes of a part's headers
_MAX_NAME: Final = 1024  # bytes of a model's name


class ModelField:
    """Looks for the field `model` of a form (RFC 7578) as the form arrives.

    `data` is what has come. `done` says that the field has been found, or that the form has ended without it. `name` is
    the model, "" without one. Raises `InvalidRequestError` for a form that cannot be read.
    """

    def __init__(self, content_type: str) -> None:
        told = Message()
        told["content-type"] = content_type
        boundary = told.get_param("boundary")
        if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
            raise InvalidRequestError("the Content-Type of a form needs its boundary")
        self._boundary = boundary.encode()
        self._line = b"\r\n--" + self._boundary
        self._data = bytearray(b"\r\n")  # as if in front of the first boundary, too
        self._looked = 0
        self._part = -1  # where the headers of the current part begin
        self._value: tuple[int, int] | None = None
        self.done = False

    @property
    def data(self) -> bytes:
        """The form as far as it has come."""
        return bytes(self._data[2:])

    @property
    def name(self) -> str:
        """The model that the form names, "" for none so far."""
        if self._value is None:
            return ""
        start, end = self._value
        try:
            return bytes(self._data[start:end]).decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError("'model' is not UTF-8", param="model") from error

    def feed(self, data: bytes) -> None:
        """Take a piece of the form. Raises `InvalidRequestError`."""
        self._data += data
        while not self.done and self._take_part():
            pass

    def _take_part(self) -> bool:
        """Look for the next boundary; return whether there was one."""
        found = self._data.find(self._line, self._looked)
        behind = found + len(self._line)
        if found < 0 or len(self._data) < behind + 2:
            # What has come may end in the middle of one.
            self._looked = found if found >= 0 else max(self._looked, len(self._data) - len(self._line))
            return False
        if self._part >= 0:
            self._look_into(self._part, found)
        if self._data[behind : behind + 2] == b"--":
            self.done = True
        self._part = self._looked = behind
        return True

    def _look_into(self, start: int, end: int) -> None:
        head_end = self._data.find(b"\r\n\r\n", start, min(end, start + _MAX_HEAD))
        if head_end < 0:
            raise InvalidRequestError("a part of the form has no proper headers")
        match = _NAME.search(bytes(self._data[start:head_end]))
        if match is None or (match[1] if match[1] is not None else match[2].strip()) != b"model":
            return
        if end - head_end - 4 > _MAX_NAME:
            raise InvalidRequestError(f"'model' is over {_MAX_NAME} bytes", param="model")
        self._value, self.done = (head_end + 4, end), True

    def with_model(self, name: str) -> bytes:
        """Return the form as far as it has come, with `name` for its model."""
        if self._value is not None:
            start, end = self._value
            return bytes(self._data[2:start] + name.encode() + self._data[end:])
        head = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' % self._boundary
        return head + name.encode() + b"\r\n" + self.data
