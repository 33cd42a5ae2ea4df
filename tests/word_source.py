"""A stream of strings."""

from __future__ import annotations

import asyncio


class Source:
    """A stream of strings that knows whether it was closed."""

    def __init__(self, pieces, error=None, pause=0.0):
        self.pieces, self.error, self.pause, self.closed = list(pieces), error, pause, 0

    def __iter__(self):
        yield from self.pieces
        if self.error is not None:
            raise self.error

    async def __aiter__(self):
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(self.pause)
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1
