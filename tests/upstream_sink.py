"""What one attempt at an upstream reports, written down."""

from __future__ import annotations

import asyncio

from everytoken.testing import CleanEnd, Head, Send

EVENT = b'data: {"choices":[]}\n\n'
STREAM = [Head(), Send(EVENT), CleanEnd()]
KEY = "sk-very-secret"


class Sink:
    """Writes down what it is told."""

    def __init__(self):
        self.seen = []
        self.error = None
        self._moved = asyncio.Event()

    def _note(self, what):
        self.seen.append(what)
        self._moved.set()

    def on_connected(self):
        self._note("connected")

    def on_accepted(self):
        self._note("accepted")

    def on_data(self, data):
        self._note(data)

    def on_non_streaming(self, body):
        self._note(("non-streaming", body))

    def on_eof(self):
        self._note("eof")

    def on_error(self, error):
        self.error = error
        self._note("error")

    async def until(self, *whats):
        async with asyncio.timeout(20):
            while not any(what in self.seen for what in whats):
                self._moved.clear()
                await self._moved.wait()
        return self

    async def end(self):
        async with asyncio.timeout(20):
            while not (self.error or any(what == "eof" or isinstance(what, tuple) for what in self.seen)):
                self._moved.clear()
                await self._moved.wait()
        return self
