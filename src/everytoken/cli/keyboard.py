"""The keyboard while an answer comes: what is typed must not appear in it, and the shell gets its terminal back."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Keyboard", "typed_text"]

_MOST = 64 * 1024  # bytes that are kept of what is typed
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class Keyboard:
    """The terminal's keyboard. `keep`: what is typed during an answer is read, for the next question.

    Otherwise it stays where it is, for the shell. Without a terminal nothing happens.
    """

    def __init__(self, *, keep: bool) -> None:
        # Where the answer goes elsewhere, the terminal may be another program's: that of `everytoken chat … | less`.
        self._descriptor = (0 if os.isatty(0) else 1) if os.isatty(1) else None
        self._keep = keep and self._descriptor == 0
        self._typed = b""
        # The mode that the shell gave the terminal, while `between_prompts` has set another one.
        self._shells: list[Any] | None = None

    def typed(self) -> str:
        """Return what has been typed during the last answer, and forget it."""
        typed, self._typed = self._typed, b""
        return typed_text(typed.decode("utf-8", "replace"))

    @contextmanager
    def between_prompts(self) -> Iterator[None]:
        """Keep what is typed before the next prompt appears for that prompt, unchanged and not yet shown.

        By itself a terminal echoes keys and turns Enter into a line feed, which a prompt takes for a new line.
        """
        if self._descriptor is None or not self._keep:
            yield
            return
        self._shells = before = termios.tcgetattr(self._descriptor)
        mode = self._without_echo(before)
        mode[0] &= ~termios.ICRNL
        self._set(mode)
        try:
            yield
        finally:
            self._shells = None
            self._set(before)

    @contextmanager
    def quiet(self, suspend: Callable[[], None], go_on: Callable[[], None]) -> Iterator[None]:
        """Show no keys meanwhile. `suspend` and `go_on` are called before Ctrl-Z stops the program, and after it.

        Call it in the event loop of the main thread.
        """
        if self._descriptor is None:
            yield
            return
        before = termios.tcgetattr(self._descriptor)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            suspend()
            self._set(self._shells or before)
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            # Here the program is stopped, until the shell continues it.
            signal.signal(signal.SIGTSTP, on_stop)
            self._set(self._without_echo(before))
            go_on()

        def on_stop(_number: int, _frame: Any) -> None:
            loop.call_soon_threadsafe(stop)  # nothing is drawn in the middle of a drawing

        def on_continue(_number: int, _frame: Any) -> None:
            loop.call_soon_threadsafe(self._set, self._without_echo(before))

        handlers = ((signal.SIGTSTP, on_stop), (signal.SIGCONT, on_continue))
        earlier = {
            number: signal.signal(number, handler)
            for number, handler in handlers
            if signal.getsignal(number) is signal.SIG_DFL  # what ignores Ctrl-Z has its reasons
        }
        self._set(self._without_echo(before))
        try:
            yield
        finally:
            if self._keep:
                self._drain()
            self._set(before)
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _without_echo(self, mode: list[Any]) -> list[Any]:
        changed = [*mode[:6], list(mode[6])]
        changed[3] &= ~(termios.ECHO | (termios.ICANON if self._keep else 0))
        if self._keep:
            changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        return changed

    def _set(self, mode: list[Any]) -> None:
        if self._in_front():
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor or 0, termios.TCSANOW, mode)

    def _in_front(self) -> bool:
        """Whether the terminal is ours: in the background a change of it would stop us."""
        try:
            return os.tcgetpgrp(self._descriptor or 0) == os.getpgrp()
        except OSError:
            return False

    def _drain(self) -> None:
        """Read what has been typed."""
        with suppress(OSError):
            while self._in_front() and select.select([0], [], [], 0)[0]:
                data = os.read(0, 4096)
                if not data:
                    return
                self._typed = (self._typed + data)[:_MOST]


def typed_text(keys: str) -> str:
    """Return the text that keys make: without those that move, erase or command."""
    text: list[str] = []
    for key in _SEQUENCES.sub("", keys).replace("\r", "\n"):
        if key in "\x7f\b":
            del text[-1:]
        elif key == "\x15":  # Ctrl-U
            text.clear()
        elif key >= " " or key in "\n\t":
            text.append(key)
    return "".join(text).strip("\n")
