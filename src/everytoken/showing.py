"""`show`: print a stream as the command line does: a cursor and Markdown on a terminal, the bare text elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterable, Coroutine, Iterable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, overload

from everytoken.client.words import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from everytoken.cli.views import View

__all__ = ["show"]

_NO_TERMINAL = {"dumb", "unknown", ""}


@overload
def show(stream: AsyncIterable[Any], *, file: TextIO | None = None) -> Coroutine[Any, Any, str]: ...
@overload
def show(stream: Iterable[Any], *, file: TextIO | None = None) -> str: ...
def show(
    stream: Iterable[Any] | AsyncIterable[Any], *, file: TextIO | None = None
) -> str | Coroutine[Any, Any, str]:
    """Print the text of `stream` while it comes, and return it; of an asynchronous one, when awaited.

    `stream` yields the chunks of an OpenAI SDK, or strings. `file` is where to print, standard output if it is not given. A
    terminal gets a cursor, whole words and Markdown; everything else gets each piece at once, flushed. What the stream
    raises is raised here, after all that came before it has been printed.
    """
    shown = sys.stdout if file is None else file
    return _show_async(stream, shown) if isinstance(stream, AsyncIterable) else _show(stream, shown)


def _show(stream: Iterable[Any], file: TextIO) -> str:
    pieces: list[str] = []
    with _drawing_thread(file) if _is_screen(file) else _printing(file) as put:
        for item in stream:
            pieces.append(text_of(item))
            put(pieces[-1])
    return "".join(pieces)


async def _show_async(stream: AsyncIterable[Any], file: TextIO) -> str:
    pieces: list[str] = []
    with _drawing(file) if _is_screen(file) else _printing(file) as put:
        async for item in stream:
            pieces.append(text_of(item))
            put(pieces[-1])
    return "".join(pieces)


def _is_terminal(file: TextIO) -> bool:
    try:
        return os.isatty(file.fileno())
    except (AttributeError, OSError, ValueError):  # a notebook's, a test's
        return False


def _is_screen(file: TextIO) -> bool:
    return _is_terminal(file) and os.environ.get("TERM", "dumb") not in _NO_TERMINAL


@contextmanager
def _printing(file: TextIO) -> Iterator[Callable[[str], None]]:
    terminal = _is_terminal(file)

    def put(text: str) -> None:
        file.write(_visible(text) if terminal else text)
        file.flush()

    try:
        yield put
    finally:
        if terminal:
            put("\n")


def _visible(text: str) -> str:
    from everytoken.cli.text import visible  # noqa: PLC0415  # a pipe does not need it

    return visible(text)


@contextmanager
def _drawing(file: TextIO) -> Iterator[Callable[[str], None]]:
    """Draw in the running event loop."""
    view = _view(file)
    view.begin()
    try:
        yield view.text
    finally:
        view.end()
    if view.output.failure is not None:
        raise view.output.failure


@contextmanager
def _drawing_thread(file: TextIO) -> Iterator[Callable[[str], None]]:
    """Draw in an event loop of its own, because the caller's thread waits for the stream, which may stall."""
    drawn: asyncio.Queue[str | None] = asyncio.Queue()
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    failures: list[BaseException] = []

    async def draw() -> None:
        loops.append(asyncio.get_running_loop())
        with _drawing(file) as put:
            ready.set()
            while (text := await drawn.get()) is not None:
                put(text)

    def run() -> None:
        try:
            asyncio.run(draw())
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            failures.append(error)
        finally:
            ready.set()

    def put(text: str | None) -> None:
        with suppress(RuntimeError):  # the thread has ended; why is told in the end
            loops[0].call_soon_threadsafe(drawn.put_nowait, text)

    thread = threading.Thread(target=run, name="everytoken-show", daemon=True)
    thread.start()
    ready.wait()
    if failures:
        raise failures[0]
    try:
        yield put
    finally:
        put(None)
        thread.join()
    if failures:
        raise failures[0]


def _view(file: TextIO) -> View:
    # A pipe does not need these, and they take a while to import.
    from everytoken.cli.output import Output  # noqa: PLC0415
    from everytoken.cli.views import view_of  # noqa: PLC0415

    file.flush()
    return view_of(Output(file.fileno(), stopped=lambda: False))
