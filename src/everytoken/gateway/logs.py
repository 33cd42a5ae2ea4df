"""What keeps secrets out of the log, whatever is logged: a message, its extra fields, a traceback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from everytoken.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LogGuard"]

_ROOT = "everytoken"
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogGuard(logging.Filter):
    """Takes what `redact` does out of every record of our loggers, from `install` to `remove`."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact
        self._format = logging.Formatter().formatException
        self._guarded: list[logging.Logger] = []

    def install(self) -> None:
        """Guard every logger of this package. A filter applies to its own logger only, not to its children."""
        self.remove()
        names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == _ROOT]
        self._guarded = [logging.getLogger(name) for name in (_ROOT, *names)]
        for logger in self._guarded:
            logger.addFilter(self)

    def remove(self) -> None:
        """Leave the loggers as they were."""
        for logger in self._guarded:
            logger.removeFilter(self)
        self._guarded.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without secrets."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # logging says itself what is wrong with the arguments
            return True
        clean = self._redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[0] is not None:
            trace = record.exc_text or self._format(record.exc_info)
            clean = self._redact(trace)
            if clean != trace:
                # The exception itself would be formatted again.
                record.exc_text, record.exc_info = clean, None
        fields = vars(record)
        for name in fields.keys() - _OWN:
            # Nearly always there is nothing in it, and one look tells.
            shown = repr(fields[name])
            if self._redact(shown) != shown:
                fields[name] = redacted(fields[name], self._redact)
        return True
