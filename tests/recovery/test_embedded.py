"""The embedded model cut in the middle: the completed answer is the uncut one. The real model runs here."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from everytoken.dialects.openai_chat import Accumulator, ChatRequest
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.local import MODEL, LocalModel

CUTS = 20
BODY = {
    "model": MODEL,
    # The template puts a long message of its own where there is no system message.
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name three rivers."},
    ],
    "stream": True,
    "seed": 11,
    "temperature": 0.8,
    "max_tokens": 8,
}


class Cutter:
    """Between us and the model; breaks the next connection after `after` bytes of its answer, properly or not."""

    def __init__(self, port):
        self._port = port
        self.after = None
        self.cut = 0
        self.sent = 0

    async def serve(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.ensure_future(self._pass(reader, back))
        after, self.after = self.after, None
        self.sent = 0
        try:
            while data := await there.read(4096):
                if after is not None and self.sent + len(data) >= after:
                    writer.write(data[: after - self.sent])
                    await writer.drain()
                    self.cut += 1
                    break
                self.sent += len(data)
                writer.write(data)
        finally:
            asking.cancel()
            for one in (writer, back):
                one.close()
            await asyncio.wait([asking])

    @staticmethod
    async def _pass(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)


class Asker:
    """Asks the model through a cutter of its own."""

    def __init__(self, endpoint, cutter, port):
        self.cutter = cutter
        self._upstream = HttpUpstream("embedded", f"http://127.0.0.1:{port}/v1", api_key=endpoint.api_key)
        self._journal = MemoryJournal()
        target = Target(name="embedded", prefill="no", policy=Policy(backoff=0.0))
        self._relays = Relays({"embedded": self._upstream}, lambda _: [target], self._journal)

    async def __aenter__(self):
        await self._journal.start()
        return self

    async def __aexit__(self, *_):
        await self._upstream.stop()
        await self._journal.stop()

    async def answer(self, after=None):
        """Return the result and the choices; the first connection is cut after `after` bytes."""
        self.cutter.after = after
        relay = await self._relays.begin(ChatRequest(BODY), grace=None)
        ended = asyncio.Event()
        relay.log.subscribe(ended.set)
        while not relay.log.closed:
            ended.clear()
            await ended.wait()
        joined = Accumulator()
        for record in relay.log.take(0, 1 << 20):
            joined.add(record)
        return relay.log.info.result, joined.message()["choices"]


@asynccontextmanager
async def asker(model):
    port = int(model.endpoint.base_url.rpartition(":")[2].partition("/")[0])
    cutter = Cutter(port)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    try:
        async with Asker(model.endpoint, cutter, server.sockets[0].getsockname()[1]) as one:
            yield one
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.timeout(240)
async def test_an_answer_cut_anywhere_is_repeated_to_the_uncut_one():
    async with (
        LocalModel(context_tokens=512, parallel=2) as model,
        asker(model) as one,
        asker(model) as other,
    ):
        result, whole = await one.answer()
        assert result["outcome"] == "completed"
        assert len(whole[0]["message"]["content"]) > 20
        chosen = random.Random(3)  # the same cuts every time
        cuts = [chosen.randrange(1, one.cutter.sent - 20) for _ in range(CUTS)]
        seams = set()

        async def cut(asking):
            while cuts:
                at = cuts.pop()
                result, choices = await asking.answer(at)
                assert (at, result["outcome"], choices) == (at, "completed", whole)
                seams.add(result["attempts"][-1]["offset"])

        await asyncio.gather(cut(one), cut(other))
        assert one.cutter.cut + other.cutter.cut == CUTS
        assert len(seams) > 3, "they were cut in different places"
