"""A terminal for tests: a pseudo-terminal with a program on it, and the screen as a person would see it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT = 20.0  # seconds until a test gives up
PATIENCE = 1.0  # seconds until a key is pressed again

_PARTS = re.compile(
    r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|([^\x1b])", re.DOTALL
)
_CUT = re.compile(r"\x1b(?:\[[?0-9;]*)?\Z")  # the beginning of an escape sequence


class Screen:
    """What a terminal shows: scrolled-off lines, then rows; knows what the command line writes, and nothing else."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0
        self.cursor_hidden = False
        self.wrapped = False
        self._rest = ""

    @property
    def text(self) -> str:
        lines = ["".join(cell or "" for cell in line).rstrip() for line in self.lines]
        return "\n".join(lines).rstrip("\n")

    def feed(self, text: str) -> None:
        text = self._rest + text
        cut = _CUT.search(text)
        text, self._rest = (text[: cut.start()], cut.group()) if cut else (text, "")
        for match in _PARTS.finditer(text):
            parameter, command, character = match.groups()
            if character is not None:
                self._put(character)
            elif command is not None:
                self._command(parameter, command)

    def _command(self, parameter: str, command: str) -> None:
        line = self.lines[self.row]
        if command == "A":
            top = max(len(self.lines) - self.rows, 0)
            assert self.row - int(parameter or 1) >= top, (
                "the program reaches for a line that has scrolled off"
            )
            self.row -= int(parameter or 1)
        elif command == "K":
            del line[self.column :]
        elif command == "J":
            del line[self.column :]
            del self.lines[self.row + 1 :]
        elif command in "CD":
            self.column = max(self.column + int(parameter or 1) * (1 if command == "C" else -1), 0)
        elif parameter == "?25":
            self.cursor_hidden = command == "l"
        else:
            assert command in "mhl", f"unknown command {parameter}{command}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append([])
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        elif character >= " ":
            self._show(character)

    def _show(self, character: str) -> None:
        line, width = self.lines[self.row], cell_len(character)
        if width == 0 or unicodedata.combining(character):
            line[self.column - 1] += character
            return
        if self.column + width > self.columns:
            self.wrapped = True
            self._put("\r")
            self._put("\n")
            line = self.lines[self.row]
        line.extend(" " * (self.column - len(line)))
        line[self.column : self.column + width] = [character, *[""] * (width - 1)]
        self.column += width


class Terminal:
    """A program on a terminal of its own; `with` ends it."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str], *, columns: int = 80, rows: int = 24
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # no thread of ours holds a lock
        )
        os.close(slave)
        self.screen = Screen(columns, rows)
        self.raw = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, seen: Callable[[], bool]) -> None:
        """Read until `seen`; the test fails when the program ends before, or in time."""
        deadline = time.monotonic() + LIMIT
        while not seen():
            assert self._read(deadline), f"the program has ended, showing:\n{self.screen.text}"

    def type_until(self, text: str, seen: Callable[[], bool]) -> None:
        """Type `text`, again and again, until `seen`: readline overhears a signal just before it begins to wait."""
        for _ in range(int(LIMIT / PATIENCE)):
            self.type(text)
            while self._ready(PATIENCE):
                self._read(0)
                if seen():
                    return
        raise AssertionError(f"{text!r} has had no effect on:\n{self.screen.text}")

    def read_to_end(self) -> int:
        """Read until the program has ended, and return its exit status."""
        deadline = time.monotonic() + LIMIT
        while self._read(deadline):
            pass
        return self.process.wait(LIMIT)

    def _read(self, deadline: float) -> bool:
        assert self._ready(deadline - time.monotonic()), f"nothing more comes after:\n{self.screen.text}"
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux says so when the last process has closed the terminal
            return False
        self.raw += data
        self.screen.feed(self._decoder.decode(data))
        return bool(data)

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self.master], [], [], max(seconds, 0))[0])
