"""Whether the gateway can do its work now, and what holds it up."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from everytoken.errors import JournalError

if TYPE_CHECKING:
    from types import FrameType

    from everytoken.journal import Journal
    from everytoken.journal.commit import GroupCommit
    from everytoken.relay import Relays

__all__ = ["Health", "Watchdog"]

logger = logging.getLogger("everytoken.gateway")

_FRESH = 1.0  # seconds for which an answer holds
_PATIENCE = 2.0  # seconds in which the journal has to answer
_DISK_PATIENCE = 2.0  # seconds that an answer waits for the disk
_HANGS = (
    30.0  # seconds after which a disk that has not told its room hangs; while it is only busy, commits tell
)
_ROOM = 64 * 1024 * 1024  # bytes free on the journal's disk below which it counts as full
_MAX_CIRCUITS = 100  # callers choose the names of models
_LOOK = 0.25  # seconds between two looks of the watchdog
_LONG = 1.0  # seconds from which on a commit or a turn of the loop is worth a line in the log


class Health:
    """Tells whether a gateway is ready; checks at most once a second, however many ask."""

    def __init__(self, journal: Journal, relays: Relays) -> None:
        self._journal = journal
        self._relays = relays
        self._reasons: list[str] = []
        self._until = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._disk: asyncio.Future[Any] | None = None
        self._disk_asked = 0.0

    async def ready(self, *, fully: bool = False) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the answer: 200, or 503 with the reasons; `fully`, what is set aside too."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and now >= self._until:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait([self._looking])
        reasons = [*self._reasons, *self._of_now()]
        more = {"set_aside": self._set_aside()} if fully else {}
        if reasons:
            return 503, {"status": "not ready", "reasons": reasons, **more}
        return 200, {"status": "ready", "responses": len(self._relays), **more}

    def _set_aside(self) -> list[dict[str, Any]]:
        relays = self._relays
        circuits = itertools.islice(relays.set_aside().items(), _MAX_CIRCUITS)
        return [
            {"upstream": upstream, "model": relays.redact(model), "seconds": round(seconds, 1)}
            for (upstream, model), seconds in circuits
        ]

    async def stop(self) -> None:
        """Look no more."""
        looks = [look for look in (self._looking, self._disk) if look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def _of_now(self) -> list[str]:
        relays = self._relays
        reasons = []
        if relays.draining:
            reasons.append("the server is stopping")
        if getattr(self._journal, "is_full", False):
            reasons.append("the journal is full: open streams and responses take all of max_journal")
        if not relays.can_try_any():
            reasons.append("no upstream can be tried: all are set aside")
        return reasons

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        reasons = ["the check was broken off"]
        try:
            journal, disk = await asyncio.gather(self._why_not_stored(), self._why_no_room())
            reasons = [reason for reason in (journal, disk) if reason]
        except Exception as error:
            logger.exception("the readiness check failed")
            reasons = [f"the check failed ({type(error).__name__})"]
        finally:
            self._reasons, self._looking = reasons, None
            self._until = loop.time() + _FRESH

    async def _why_not_stored(self) -> str:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._journal.probe()
        except TimeoutError:
            return "the journal does not answer"
        except JournalError as error:
            return error.message
        return ""

    async def _why_no_room(self) -> str:
        directory = getattr(self._journal, "directory", None)
        if directory is None:
            return ""
        if self._disk is None:
            # One that hangs is waited for again: another thread would hang as well.
            self._disk_asked = asyncio.get_running_loop().time()
            self._disk = asyncio.ensure_future(asyncio.to_thread(shutil.disk_usage, directory))
        done, _ = await asyncio.wait([self._disk], timeout=_DISK_PATIENCE)
        if not done:
            waited = asyncio.get_running_loop().time() - self._disk_asked
            return "the journal's disk does not answer" if waited >= _HANGS else ""
        looked, self._disk = self._disk, None
        try:
            free = looked.result().free
        except OSError as error:
            return f"the journal's disk cannot be looked at: {error.strerror}"
        return "" if free >= _ROOM else f"the journal's disk is full: {free} bytes are free"


class Watchdog:
    """Logs a commit, or a turn of the event loop, that takes over a second, and where the loop is then."""

    def __init__(self, commits: GroupCommit | None) -> None:
        self._commits = commits
        self._seen = (-1, 0.0)  # the commit under way when last looked, and when it was seen first
        self._told = -1  # the last commit that was told of
        self._alive = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch the running loop."""
        self._tick()
        loop_thread = threading.get_ident()
        thread = threading.Thread(
            target=self._watch, args=(loop_thread,), name="everytoken-watchdog", daemon=True
        )
        thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._alive = now = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._tick)
        commits = self._commits
        if commits is None or not commits.busy:
            return
        number, since = self._seen
        if number != commits.number:
            self._seen = (commits.number, now)
        elif now - since >= _LONG and self._told != number:
            self._told = number
            logger.warning("a journal commit has taken over %.0f s; it is waiting for the storage", _LONG)

    def _watch(self, loop_thread: int) -> None:
        told = 0.0
        while not self._stopped.wait(_LOOK):
            alive = self._alive
            if time.monotonic() - alive > _LOOK + _LONG and told != alive:
                told = alive
                where = _innermost(sys._current_frames().get(loop_thread))  # noqa: SLF001  # the only way to see it
                logger.warning("the event loop has been blocked for over %.0f s, in %s", _LONG, where)


def _innermost(frame: FrameType | None) -> str:
    """Return where a thread is: the innermost frame of this package, or any innermost frame if there is none."""
    first = frame
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("everytoken."):
            return _named(frame)
        frame = frame.f_back
    return "an unknown place" if first is None else _named(first)


def _named(frame: FrameType) -> str:
    module = frame.f_globals.get("__name__", "?")
    return f"{module}:{frame.f_lineno} ({frame.f_code.co_qualname})"
