"""Lines of the log as JSON objects, one a line, for whatever collects them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

__all__ = ["JsonFormatter"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """Writes `time`, `level`, `logger` and `message`, then the entry of the request log if the line has one.

    `worker`: which of several processes this is, None if there is only one.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
        }
        for name in ("stream_id", "entry"):
            value = getattr(record, name, None)
            if isinstance(value, dict):
                # The message of an entry is its error's.
                line |= {key: item for key, item in value.items() if key not in line or key == "message"}
            elif value is not None:
                line["response"] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _encode(line).decode()
        except UnicodeEncodeError:  # half a surrogate pair
            return json.dumps(line, default=str)
