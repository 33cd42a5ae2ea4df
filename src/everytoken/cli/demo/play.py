"""The demo's course: ask, kill the gateway in the middle, start it again, continue, and count."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from everytoken.cli.demo.proof import Kill, Proof, proved
from everytoken.cli.demo.reading import Answer
from everytoken.cli.demo.server import GatewayProcess
from everytoken.cli.server import Server
from everytoken.errors import TruncatedError

if TYPE_CHECKING:
    from pathlib import Path

    from everytoken.cli.demo.model import Model
    from everytoken.cli.demo.stage import Stage

__all__ = ["play"]


async def play(model: Model, kills: int, stage: Stage, folder: Path) -> Proof:
    """Show an answer whose gateway is killed `kills` times, and return the count. Raises `EverytokenError`.

    The gateway's files are in `folder`. Its process is gone afterwards, whatever happens.
    """
    stage.begin(model)
    async with model.serving():
        gateway = GatewayProcess(folder, model.options)
        try:
            await gateway.start()
            stage.ready(gateway.pid, gateway.url)
            server = Server(f"{gateway.url}/v1", None)
            try:
                proof = await _Course(model, kills, stage, gateway, server).run()
            finally:
                await server.close()
        finally:
            await gateway.stop()
    stage.counted(proof)
    return proof


class _Course:
    """One run of the demo, with a gateway that is ready."""

    def __init__(
        self, model: Model, kills: int, stage: Stage, gateway: GatewayProcess, server: Server
    ) -> None:
        self._model = model
        self._marks = [model.length * (number + 1) // (kills + 1) for number in range(kills)]
        self._stage = stage
        self._gateway = gateway
        self._server = server
        self._answer = Answer(server)
        self._kills: list[Kill] = []
        self._last_token = 0.0

    async def run(self) -> Proof:
        began = time.monotonic()
        answer = self._answer
        await answer.ask(self._model.request)
        while not answer.complete:
            kill = await self._read()
            if kill is not None:
                await self._start_again(kill)
                await answer.reconnect()
            elif not answer.complete:
                raise TruncatedError("the connection to the gateway broke, and nobody has killed it")
        stored = Answer(self._server)
        await stored.reconnect(answer.stream_id)
        await stored.read_all()
        return proved(
            answer.records,
            stored.records,
            (await self._uninterrupted()).records,
            complete=stored.complete,
            kills=self._kills,
            seconds=time.monotonic() - began,
            model=str(self._model.request["model"]),
            stream_id=answer.stream_id,
        )

    async def _read(self) -> Kill | None:
        """Show what comes on this connection; kill the gateway where that is due, and return the kill, if any."""
        pid = None
        async with aclosing(self._answer.read()) as records:
            async for record in records:
                if record.text:
                    self._on_token(record.text)
                if pid is None and self._marks and self._answer.tokens >= self._marks[0]:
                    del self._marks[0]
                    pid = await self._gateway.kill()
                    # What the system has received before the kill is still read.
        return None if pid is None else Kill(pid, self._answer.tokens)

    def _on_token(self, text: str) -> None:
        now = time.monotonic()
        if self._kills and not self._kills[-1].silent:
            self._kills[-1].silent = now - self._last_token
        self._last_token = now
        self._stage.token(text)

    async def _start_again(self, kill: Kill) -> None:
        began = time.monotonic()
        self._kills.append(kill)
        self._stage.killed(kill)
        await self._gateway.start()
        kill.gone = time.monotonic() - began
        kill.next_pid = self._gateway.pid
        self._stage.restarted(kill)

    async def _uninterrupted(self) -> Answer:
        """Ask the same once more, and let nobody kill anything."""
        again = Answer(self._server)
        self._stage.asked_again(0)
        await again.ask(self._model.request)
        async with aclosing(again.read()) as records:
            async for _ in records:
                self._stage.asked_again(again.tokens)
        return again
