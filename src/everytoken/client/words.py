"""`words`: the text of a stream, word by word, for display."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from inspect import isawaitable
from typing import Any, overload

from everytoken.smoothing import Smoother

__all__ = ["text_of", "words"]

_END: Any = object()


@overload
def words(stream: AsyncIterable[Any], *, hold: float = 0.2) -> AsyncIterator[str]: ...
@overload
def words(stream: Iterable[Any], *, hold: float = 0.2) -> Iterator[str]: ...
def words(
    stream: Iterable[Any] | AsyncIterable[Any], *, hold: float = 0.2
) -> Iterator[str] | AsyncIterator[str]:
    """Yield the text of `stream` in pieces that end where words end; joined they are the text.

    `stream` yields the chunks of an OpenAI SDK, or strings; the text is that of the first choice. It may be synchronous or
    asynchronous, and so is what is returned. It is closed when the iteration ends, for whatever reason.

    When an asynchronous stream pauses in the middle of a word, the unfinished word is yielded after `hold` seconds. A
    synchronous stream blocks the caller's thread, so there the word waits for the next chunk or the end. An error is
    raised after all text that came before it.
    """
    if isinstance(stream, AsyncIterable):
        return _words_async(stream, Smoother("word", hold=hold))
    return _words(stream, Smoother("word", hold=hold))


def text_of(item: Any) -> str:
    """Return the text in an item of a stream. Raises `TypeError` if it is neither a chunk nor a string."""
    if isinstance(item, str):
        return item
    try:
        choices = item.choices
    except AttributeError:
        raise TypeError(f"expected a stream of chunks or strings, not of {type(item).__name__}") from None
    for choice in choices or ():
        if not choice.index and choice.delta is not None:
            return choice.delta.content or ""
    return ""


def _words(stream: Iterable[Any], smoother: Smoother) -> Iterator[str]:
    try:
        try:
            for item in stream:
                if piece := smoother.push(text_of(item), time.monotonic()):
                    yield piece
        except Exception:
            if rest := smoother.finish():
                yield rest
            raise
        if rest := smoother.finish():
            yield rest
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


async def _words_async(stream: AsyncIterable[Any], smoother: Smoother) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    items = aiter(stream)
    waiting: asyncio.Task[Any] | None = None
    try:
        try:
            while True:
                waiting = asyncio.ensure_future(_next(items))
                while not waiting.done():
                    deadline = smoother.deadline()
                    await asyncio.wait({waiting}, timeout=None if deadline is None else deadline - clock())
                    if not waiting.done() and (piece := smoother.tick(clock())):
                        yield piece
                item = waiting.result()
                if item is _END:
                    break
                if piece := smoother.push(text_of(item), clock()):
                    yield piece
        except Exception:
            if rest := smoother.finish():
                yield rest
            raise
        if rest := smoother.finish():
            yield rest
    finally:
        if waiting is not None and not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})
        close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
        closing = close() if close is not None else None
        if isawaitable(closing):
            await closing


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)
