"""Group commit: what moved in one turn of the event loop is stored together, one commit at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections import deque
from operator import methodcaller
from typing import TYPE_CHECKING

from everytoken.errors import JournalUnavailableError, NotStorableError
from everytoken.native import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal.stream import Stream

    Store = Callable[[Sequence[Stream]], bool]
    After = Callable[[Sequence[Stream]], None]

__all__ = ["GroupCommit", "StorageBusyError"]

logger = logging.getLogger("everytoken.journal")

_RETRY = (0.005, 1.0)  # seconds between tries while the storage refuses: first and longest
_FEW = 3  # streams in the last commit up to which the next one does not wait for others to come along
_PATIENCE = 1.0  # seconds that those who wait are kept waiting while the storage is only busy

_begin, _commit = methodcaller("begin"), methodcaller("commit")


class StorageBusyError(JournalUnavailableError):
    """The storage cannot store at this moment, but surely will soon."""


class _Watched:
    """Those who want to know of commits."""

    def __init__(self, store: Store, after: After) -> None:
        self._store = store
        self._after = after
        # Where somebody counts: the seconds of each commit since the last `fold`, the bytes of their records, and when the
        # one under way began.
        self._counted: Callable[[Sequence[float], int], None] | None = None
        self._times = array("d")
        self._size = 0
        self._began = 0.0

    def count(self, counted: Callable[[Sequence[float], int], None]) -> None:
        """Have `counted` called by `fold`, with the seconds of each commit since the last one and the bytes of their records.

        Call `fold` now and then. With few responses nearly every chunk is a commit of its own, so that a
        call for each would be a call for each chunk.
        """
        self._counted = counted

    def fold(self) -> None:
        """Have counted what has not been yet."""
        times, size = self._times, self._size
        if times and self._counted is not None:
            self._times, self._size = array("d"), 0
            self._counted(times, size)

    def observe(self, told: Callable[[int, int, float], None]) -> None:
        """Have `told` called after each commit: its streams, the bytes of their records, and its seconds."""
        self._store, self._after = _measured(self._store, self._after, told)


class GroupCommit(_Watched):
    """Has `store` store the streams that moved. Nothing is shown to readers before that.

    `store` returns True when it is done, or False when it will call `done`, `failed` or `refused` later; it may raise,
    with nothing stored then. `JournalUnavailableError` means that the storage cannot store now: all is tried again.
    Any other exception belongs to one of the streams: the batch is halved until that one is alone, and it alone fails.
    `after` is called when the readers have been told.
    """

    def __init__(self, store: Store, after: After) -> None:
        super().__init__(store, after)
        self._dirty: list[Stream] = []
        self._storing: list[Stream] = []
        self._suspects: deque[list[Stream]] = deque()  # parts of a batch that could not be stored as a whole
        self._probes: list[asyncio.Future[None]] = []
        # Those who want to know of the commit under way, also if nothing has moved.
        self.storing_probes: list[asyncio.Future[None]] = []
        self.number = 0  # of commits begun; with `busy` it tells whether one takes long
        self._scheduled: asyncio.Handle | None = None
        self._busy = False
        self._few = False
        self._pause = 0.0
        self._failing_since = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self.failing = False  # whether those who wait are turned away

    def add(self, stream: Stream) -> None:
        """Have a stream looked at with the next commit, at the end of this turn of the event loop."""
        if not stream.dirty:
            stream.dirty = True
            self._dirty.append(stream)
        if not (self._scheduled or self._busy or self._retry):
            self._scheduled = asyncio.get_running_loop().call_soon(
                self._flush if self._few else self._after_one_more
            )

    def soon(self) -> None:
        """Have a commit, with or without streams that moved."""
        if not (self._scheduled or self._busy or self._retry):
            self._scheduled = asyncio.get_running_loop().call_soon(
                self._flush if self._few else self._after_one_more
            )

    def _after_one_more(self) -> None:
        # What already waits in the sockets is read in between, and comes into the same commit.
        self._scheduled = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self._retry = None
        if self._suspects:
            streams = self._suspects.popleft()
        else:
            streams, self._dirty = list(dict.fromkeys(self._dirty)), []
        self._storing = streams
        self._few = len(streams) <= _FEW
        self._busy = True
        self.number += 1
        if self._probes:
            self.storing_probes, self._probes = self._probes, []
        try:
            begin = parts.begin or _begin
            for stream in streams:
                begin(stream)
            if self._counted is not None:
                # Not the loop's clock: uvloop's stands still within a turn, and a commit may be over within one.
                self._began = time.perf_counter()
            done = self._store(streams)
        except JournalUnavailableError as error:
            self.failed(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the others
            self.refused(error)
        else:
            if done:
                self.done()

    def refused(self, error: BaseException, *, together: bool = False) -> None:
        """Take what was being stored as not stored, and find the stream that `error` belongs to.

        With `together` it may belong to none of them: all are tried again first.
        """
        self._busy = False
        streams, self._storing = self._storing, []
        for stream in streams:
            stream.put_back()
            stream.dirty = True
        if together:
            self._suspects.appendleft(streams)
        elif len(streams) > 1:
            half = len(streams) // 2
            self._suspects.extendleft((streams[half:], streams[:half]))
        elif streams:
            self._give_up(streams[0], error)
        else:
            logger.error("the journal could not tidy up", exc_info=error)
        self._probes, self.storing_probes = self.storing_probes + self._probes, []
        self._go_on()

    def _give_up(self, stream: Stream, error: BaseException) -> None:
        """Fail the one stream that cannot be stored."""
        logger.error("stream %s cannot be stored, and is given up", stream.info.id, exc_info=error)
        failure = NotStorableError("what was to be stored cannot be stored")
        failure.__cause__ = error
        stream.dirty = False
        if stream.created and stream.revocable:
            stream.give_up(
                failure
            )  # an append that its caller can be told of; the stream is as it was before
        elif stream.created and not stream.broken_off:
            stream.break_off(failure)
            self.add(stream)
        else:
            stream.drop_pending()
            stream.lose(failure)

    def _go_on(self) -> None:
        if self._dirty or self._suspects or self._probes:
            self.soon()
        self._tell_idle()

    async def probe(self) -> None:
        """Return when a commit that began after this call is stored. Raises `JournalUnavailableError`."""
        self.check()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._probes = [*(probe for probe in self._probes if not probe.done()), stored]
        self.soon()
        await stored

    @property
    def busy(self) -> bool:
        """Whether a commit is under way."""
        return self._busy

    def _answer_probes(self, error: JournalUnavailableError | None) -> None:
        probes, self.storing_probes = self.storing_probes, []
        for stored in probes:
            if not stored.done():
                if error is None:
                    stored.set_result(None)
                else:
                    stored.set_exception(error)

    def done(self) -> None:
        """Take what was being stored as stored."""
        self._busy = False
        if self._pause:
            if self.failing:
                logger.warning("the journal stores again")
            self._pause = 0.0
            self.failing = False
        streams, self._storing = self._storing, []
        if self.storing_probes:
            self._answer_probes(None)
        if self._began and streams:  # not one that was under way when somebody began to count
            self._times.append(time.perf_counter() - self._began)
            for stream in streams:
                self._size += sum(map(len, stream.storing))
        commit = parts.commit or _commit
        for stream in streams:
            try:
                commit(stream)
            except Exception as error:  # noqa: BLE001  # the others' turn is not over
                stream.cannot_show(error)
        try:
            self._after(streams)
        except Exception:  # what was stored is stored
            logger.exception("the journal could not finish a commit")
        # As `_go_on` does: a frame for every commit is a part of its cost.
        if self._dirty or self._suspects or self._probes:
            self.soon()
        if self._idle is not None:
            self._tell_idle()

    def failed(self, error: JournalUnavailableError) -> None:
        """Take what was being stored as not stored, and try again in a while."""
        loop = asyncio.get_running_loop()
        self._busy = False
        if not self._pause:
            self._failing_since = loop.time()
        self._pause = min(max(self._pause * 2, _RETRY[0]), _RETRY[1])
        patient = isinstance(error, StorageBusyError) and loop.time() - self._failing_since < _PATIENCE
        if not patient and not self.failing:
            self.failing = True
            logger.warning("the journal cannot store: %s; readers wait until it can", error.message)
        streams, self._storing = self._storing, []
        if patient:
            self._probes, self.storing_probes = self.storing_probes + self._probes, []
        else:
            self._answer_probes(error)
        for stream in streams:
            stream.put_back()
            stream.dirty = True
        while self._suspects:
            streams += self._suspects.popleft()
        self._dirty = list(dict.fromkeys(streams + self._dirty))
        if not patient:
            for stream in self._dirty:
                stream.give_up(error)
        self._retry = loop.call_later(self._pause, self._flush)
        self._tell_idle()

    def hold(self) -> None:
        """Begin no commit before `release`. There must be none under way."""
        self._stop_retrying()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self._busy = True

    def release(self) -> None:
        """Go on, at once."""
        self._busy = False
        self._flush()

    def check(self) -> None:
        """Raise `JournalUnavailableError` while the storage refuses."""
        if self.failing:
            raise JournalUnavailableError("the journal cannot store now")

    async def finish(self) -> None:
        """Store what is on its way, if that can be; nothing is tried again after it."""
        self._stop_retrying()
        while self._busy or self._dirty or self._suspects or self._scheduled:
            if not self._busy:
                self._flush()
            if self._busy:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            if self._stop_retrying():
                logger.error("the journal was stopped while it could not store; what waited is lost")
                return

    def _stop_retrying(self) -> bool:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        return retry is not None

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def _measured(store: Store, after: After, told: Callable[[int, int, float], None]) -> tuple[Store, After]:
    """Wrap what stores, rather than ask at each commit whether anybody wants to know: so it costs nothing if nobody does."""
    # Not the loop's clock: uvloop's stands still within a turn, and a commit may be over within one.
    began, size = -1.0, 0

    def measured_store(streams: Sequence[Stream]) -> bool:
        nonlocal began, size
        began = time.perf_counter()
        size = 0
        for stream in streams:
            size += sum(map(len, stream.storing))
        return store(streams)

    def told_after(streams: Sequence[Stream]) -> None:
        if streams and began >= 0:  # not a commit that was under way when somebody began to observe
            told(len(streams), size, time.perf_counter() - began)
        after(streams)

    return measured_store, told_after
