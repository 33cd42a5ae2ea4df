"""The process that starts the workers: it serves nothing itself, passes signals on, and starts again whichever has died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from typing import TYPE_CHECKING, Any

from everytoken.cli.workers.peer import Peer, PeerGoneError
from everytoken.cli.workers.worker import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Restarts", "Supervisor"]

logger = logging.getLogger("everytoken.serve")

_PATIENCE = 2.0  # seconds for a worker to answer what another one asks
_SIGNALLED = 128  # added to the number of the signal that ended a process, as shells do


class Restarts:
    """How long to wait before a worker is started again: not at all at first, longer if it does not live long.

    `first` and `longest` are in seconds; after one that has lived for `healthy` seconds there is no wait again.
    """

    def __init__(self, first: float = 0.5, longest: float = 10.0, healthy: float = 10.0) -> None:
        self._first = first
        self._longest = longest
        self._healthy = healthy
        self._pause = 0.0

    def pause(self, lived: float) -> float:
        """Return the seconds to wait after one that has lived for so many."""
        if lived >= self._healthy:
            self._pause = 0.0
        pause = self._pause
        self._pause = min(max(pause * 2, self._first), self._longest)
        return pause


class _Child:
    """A worker as its process: `node` is its name in the journal, "" before it serves."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.process = process
        self.peer: Peer | None = None
        self.node = ""

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Runs `count` workers by `command`, to which their place is added, all at one listening socket.

    `ready` is called once, when all of them serve.
    """

    def __init__(
        self, count: int, command: Sequence[str], listening: socket.socket, ready: Callable[[], None]
    ) -> None:
        self._count = count
        self._command = command
        self._listening = listening
        self._ready = ready
        self._children: dict[int, _Child] = {}
        self._serving: set[int] = set()
        self._moved = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failed = 0
        self._someone_serves = asyncio.Event()
        self._mourning: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until a signal ends it; return the exit status.

        A worker that ends before all have served once ends all: it has said why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        # One by itself first: if the configuration is wrong, one tells.
        tasks = [asyncio.create_task(self._keep(1))]
        try:
            await self._until(1)
            tasks += [asyncio.create_task(self._keep(number)) for number in range(2, self._count + 1)]
            await self._until(self._count)
            if not self._stopping.is_set():
                self._ready()
            await asyncio.gather(*tasks)
        finally:
            for task in self._mourning:
                task.cancel()
            for child in self._children.values():
                child.send(signal.SIGKILL)
        return self._failed

    async def _until(self, count: int) -> None:
        """Wait until so many serve, or all are to stop."""
        while len(self._serving) < count and not self._stopping.is_set():
            self._moved.clear()
            await self._moved.wait()

    def _stop(self, number: int) -> None:
        self._stopping.set()
        self._moved.set()
        self._pass_on(number)

    def _reload(self) -> None:
        for child in self._children.values():
            if child.node:  # one that is starting reads what is new anyway, and would die of it
                child.send(signal.SIGHUP)

    def _pass_on(self, number: int) -> None:
        for child in self._children.values():
            child.send(number)

    async def _keep(self, number: int) -> None:
        """Have a worker run until all stop."""
        restarts, clock = Restarts(), asyncio.get_running_loop().time
        while not self._stopping.is_set():
            begun = clock()
            try:
                status = await self._run(number)
            except OSError as error:  # the system has no room for a process now
                logger.error("worker %d cannot be started: %s", number, error.strerror or error)  # noqa: TRY400
                status = 1
            if self._stopping.is_set():
                break
            if len(self._serving) < self._count and number not in self._serving:
                self._failed = _exit_status(status) or 1
                self._stop(signal.SIGTERM)
                break
            pause = restarts.pause(clock() - begun)
            logger.error("worker %d %s; another one is started%s", number, _how(status), _when(pause))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _run(self, number: int) -> int:
        """Run a worker once; return the status it has ended with."""
        ours, theirs = socket.socketpair()
        place = Place(number, self._listening.fileno(), theirs.fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(place),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(place.listening, place.line),
                process_group=0,  # Ctrl-C is for this process, which passes it on
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = self._children[number] = _Child(number, process)
        if self._stopping.is_set():
            child.send(signal.SIGTERM)  # it came while this one was being started
        ours.setblocking(False)
        child.peer = await Peer.over(ours, lambda kind, value: self._handle(child, kind, value))
        serving = asyncio.create_task(child.peer.serve())
        status = await process.wait()
        del self._children[number]
        child.peer.close()
        await serving
        if child.node:
            task = asyncio.create_task(self._mourn(child.node))
            self._mourning.add(task)
            task.add_done_callback(self._mourning.discard)
        return status

    async def _mourn(self, node: str) -> None:
        """Have the others take over what a worker has left behind, now that it is known to be gone.

        They may have died with it: then those that are started in their place.
        """
        while not self._stopping.is_set():
            self._someone_serves.clear()
            others = [child for child in self._children.values() if child.node]
            answers = await asyncio.gather(*(self._ask(child, "lost", node) for child in others))
            if any(said for said, _ in answers):
                return
            await self._someone_serves.wait()

    async def _handle(self, child: _Child, kind: str, value: Any) -> Any:
        if kind == "ready":
            child.node = value
            self._serving.add(child.number)
            self._moved.set()
            self._someone_serves.set()
            return None
        assert kind == "others"
        others = [one for one in self._children.values() if one is not child and one.node]
        answers = await asyncio.gather(*(self._ask(one, *value) for one in others))
        return [[one.number, answer] for one, (said, answer) in zip(others, answers, strict=True) if said]

    async def _ask(self, child: _Child, question: str, about: Any) -> tuple[bool, Any]:
        assert child.peer is not None
        try:
            async with asyncio.timeout(_PATIENCE):
                return True, await child.peer.ask(question, about)
        except (TimeoutError, PeerGoneError):
            return False, None


def _exit_status(status: int) -> int:
    return status if status >= 0 else _SIGNALLED - status


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"has ended with status {status}"


def _when(pause: float) -> str:
    return f" in {pause:g} s" if pause else ""
