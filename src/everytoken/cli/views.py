"""Shows an answer as it arrives: a pipe gets its bytes, a terminal rendered Markdown with a cursor."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Protocol

from everytoken.cli.text import visible
from everytoken.cli.thinking import ThinkTags

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.cli.output import Output

__all__ = ["PlainView", "ScreenView", "View", "view_of"]

_FRAME = 0.05  # minimum seconds between two drawings; the eye does not see more
_QUIET = 1.0  # seconds without anything new, after which it is said what is waited for
_SHARE = 4  # after a drawing, this many times its duration is left for other work
_HIDE, _SHOW = b"\x1b[?25l", b"\x1b[?25h"  # the terminal's own cursor


class View(Protocol):
    """Shows an answer. Nothing here raises; check `output.failure`."""

    output: Output
    explains: bool  # whether it shows what is waited for

    def begin(self) -> None:
        """Show that an answer is expected."""

    def explain(self, waiting: Callable[[], str]) -> None:
        """While nothing comes, show what `waiting` returns, and for how long."""

    def suspend(self) -> None:
        """Leave the terminal to the shell for a while."""

    def go_on(self) -> None:
        """Show the answer again, below what the shell has written."""

    def reasoning(self, text: str) -> None:
        """Take a piece of the thinking before the answer."""

    def text(self, text: str) -> None:
        """Take a piece of the answer."""

    def end(self) -> None:
        """Show the rest, and that the answer has ended."""


class PlainView:
    """The answer's bytes and nothing else, each piece at once.

    On a `terminal` (one that cannot move its cursor) control characters are made visible, and the last line is ended.
    """

    explains = False

    def __init__(self, output: Output, *, terminal: bool) -> None:
        self.output = output
        self._terminal = terminal

    def begin(self) -> None:
        """Nothing to show."""

    def explain(self, waiting: Callable[[], str]) -> None:
        """Nothing to show: everything here is the answer's."""

    def suspend(self) -> None:
        """Nothing to put back."""

    def go_on(self) -> None:
        """Nothing to show."""

    def reasoning(self, text: str) -> None:
        """Show nothing: reasoning is not part of the answer."""

    def text(self, text: str) -> None:
        """Write the piece."""
        self.output.write((visible(text) if self._terminal else text).encode("utf-8", "replace"))

    def end(self) -> None:
        """End the last line; everything else has been written."""
        if self._terminal:
            self.output.write(b"\n")


class ScreenView:
    """Markdown on a terminal, word by word, with a cursor at its end.

    Finished blocks are printed for good; only the last one is drawn again as it grows. Of a block with
    more lines than the terminal, the end is shown, and all of it once it is finished.
    """

    explains = True

    def __init__(self, output: Output, loop: asyncio.AbstractEventLoop) -> None:
        # A pipe does not need these, and they are slow to import.
        from everytoken.cli.markdown import CURSOR, Renderer  # noqa: PLC0415
        from everytoken.cli.region import LiveRegion  # noqa: PLC0415
        from everytoken.smoothing import Smoother  # noqa: PLC0415

        self.output = output
        self._cursor = CURSOR
        self._loop = loop
        self._renderer = Renderer()
        self._region = LiveRegion(output.write, lambda: self._size().columns)
        self._smoother = Smoother("word")
        self._open = ""  # what is not yet printed for good
        self._thinking = True  # whether `_open` is reasoning
        self._gap = False  # whether an empty line is due before the next block
        self._timer: asyncio.TimerHandle | None = None
        self._next_frame = 0.0
        self._began = False
        self._tags = ThinkTags()
        self._waiting: Callable[[], str] | None = None
        self._last = loop.time()  # when something new has come
        self._tick: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Show the cursor."""
        self._began = True
        self._last = self._loop.time()
        self.output.write(_HIDE)
        self._draw()

    def explain(self, waiting: Callable[[], str]) -> None:
        """Say every second what is waited for, while nothing comes."""
        self._waiting = waiting
        if self._tick is None and self._began:
            self._on_second()

    def suspend(self) -> None:
        """Take away what is not finished, and show the terminal's own cursor."""
        if self._began:
            self._region.draw([], [])
            self.output.write(_SHOW)

    def go_on(self) -> None:
        """Draw below what is there now."""
        if self._began:
            self._region.forget()
            self.output.write(_HIDE)
            self._draw()

    def reasoning(self, text: str) -> None:
        """Show a piece of the thinking, dim."""
        if self._thinking:
            self._take(text)

    def text(self, text: str) -> None:
        """Show a piece of the answer."""
        for thought, part in self._tags.push(text):
            if thought:
                self.reasoning(part)
            else:
                self._answer(part)

    def _answer(self, text: str) -> None:
        if text and self._thinking:
            self._print_all()
            self._thinking = False
        self._take(text)

    def end(self) -> None:
        """Print what is left, without a cursor."""
        if not self._began:
            return
        if rest := self._tags.finish():
            self._answer(rest)
        for timer in (self._timer, self._tick):
            if timer is not None:
                timer.cancel()
        self._began = False
        self._print_all()
        self.output.write(_SHOW)

    def _take(self, text: str) -> None:
        self._last = self._loop.time()
        self._open += self._smoother.push(visible(text), self._loop.time())
        if self._timer is None:
            self._schedule(self._next_frame)

    def _schedule(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._open += self._smoother.tick(now)
        if now >= self._next_frame:
            began = time.perf_counter()
            self._draw()
            self._next_frame = now + max(_FRAME, _SHARE * (time.perf_counter() - began))
        deadline = self._smoother.deadline()
        if deadline is not None:
            self._schedule(max(deadline, self._next_frame))

    def _on_second(self) -> None:
        self._tick = self._loop.call_at(self._loop.time() + 1.0, self._on_second)
        if self._timer is None and self._quiet() >= _QUIET:
            self._draw()

    def _quiet(self) -> float:
        return self._loop.time() - self._last

    def _status(self, width: int) -> list[str]:
        """Return the line that says what is waited for."""
        seconds = self._quiet()
        if self._waiting is None or seconds < _QUIET:
            return []
        return [f"\x1b[2m{visible(f'{self._waiting()} · {seconds:.0f} s')[:width]}\x1b[0m"]

    def _draw(self) -> None:
        size = self._size()
        width, height = size.columns - 1, max(size.lines - 1, 1)
        if self._thinking:
            cut = self._open.rfind("\n") + 1
            finished = self._renderer.plain(self._open[: cut - 1], width) if cut else []
            live = self._renderer.plain(self._open[cut:] + self._cursor, width)
        else:
            self._open = self._open.lstrip("\n")
            cut = self._renderer.finished(self._open)
            finished = self._apart(self._renderer.markdown(self._open[:cut], width)) if cut else []
            live = self._apart(self._renderer.unfinished(self._open[cut:], width, height), also=cut > 0)
        self._gap = self._gap or cut > 0
        self._open = self._open[cut:]
        status = self._status(width)
        self._region.draw(finished, [*self._blinking(live[-max(height - len(status), 1) :]), *status])

    def _print_all(self) -> None:
        """Print everything for good; the next text begins a new line."""
        self._open += self._smoother.finish()
        width = self._size().columns - 1
        text, self._open = self._open, ""
        if self._thinking:
            lines = self._renderer.plain(text, width) if text else []
        else:
            lines = self._apart(self._renderer.markdown(text, width))
        self._region.draw(lines, [])
        self._gap = self._gap or bool(lines)

    def _apart(self, lines: list[str], *, also: bool = False) -> list[str]:
        """Put an empty line in front of a block that follows another."""
        return ["", *lines] if lines and (self._gap or also) else lines

    def _blinking(self, lines: list[str]) -> list[str]:
        """Make the cursor, which is the last such character in the text, blink."""
        for index in reversed(range(len(lines))):
            before, cursor, after = lines[index].rpartition(self._cursor)
            if cursor:
                return [*lines[:index], f"{before}\x1b[5m{cursor}\x1b[25m{after}", *lines[index + 1 :]]
        return lines

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self.output.descriptor)
        except OSError:
            size = os.terminal_size((0, 0))
        # A terminal that does not know its size reports 0.
        return os.terminal_size((size.columns or 80, size.lines or 24))


def view_of(output: Output, *, plain: bool = False) -> View:
    """Return the view that suits `output`, one without Markdown if `plain`; call it in the event loop."""
    terminal = os.isatty(output.descriptor)
    if terminal and not plain and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}:
        return ScreenView(output, asyncio.get_running_loop())
    return PlainView(output, terminal=terminal)
