"""A gateway as a process of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["GatewayProcess"]

_READY = re.compile(rb"everytoken is ready at (http://\S+)\n")
_START = 120.0  # seconds; two are usual, a cold disk and a busy machine take longer
_STOP = 5.0  # seconds from SIGTERM to SIGKILL
# Settings of this user's own gateways are not for this one.
_OURS = ("EVERYTOKEN_", "OPENAI_", "ANTHROPIC_", "OTEL_")


class GatewayProcess:
    """`everytoken serve` with a journal in `folder`. After a kill, `start` starts it again at the same address."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self._folder = folder
        self._log = folder / "gateway.log"
        self._options = options
        self._process: Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """The id of the process that runs, or has run last."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises `ConfigurationError` if it does not start."""
        errors = await asyncio.to_thread(self._log.open, "ab")
        with errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=errors,
                env=self._environment(),
                start_new_session=True,  # the terminal's Ctrl-C is for the demo, which ends this process itself
            )
        assert self._process.stdout is not None
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START):
                line = await self._process.stdout.readline()
        ready = _READY.fullmatch(line)
        if ready is None:
            await self.stop()
            said = (
                (await asyncio.to_thread(self._log.read_bytes)).decode(errors="replace").strip().splitlines()
            )
            raise ConfigurationError(f"the gateway does not start: {said[-1] if said else 'it says nothing'}")
        self.url = ready[1].decode()

    async def kill(self) -> int:
        """Kill it with SIGKILL, wait until it is gone, and return its id."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        return self._process.pid

    async def stop(self) -> None:
        """End it if it runs. May be called again, and before `start`."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP):
                await process.wait()
        except TimeoutError:
            await self.kill()

    def _command(self) -> list[str]:
        port = urlsplit(self.url).port or 0
        return [
            *(sys.executable, "-P", "-c", "from everytoken.cli import main; main()", "serve"),
            *("--port", str(port), "--drain", "0", "--log-level", "warning"),
            *("--journal", f"sqlite:///{self._folder / 'journal.sqlite'}"),
            *self._options,
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)}
        # The gateway keeps an admin key in the user's data folder: this one in a folder that goes away.
        return {**kept, "XDG_DATA_HOME": str(self._folder)}
