"""All responses of one process: begins them, takes over those whose writer is gone, hands them over at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.dialects.registry import dialect_of
from everytoken.errors import (
    CancelledError,
    EverytokenError,
    FencedError,
    JournalError,
    ModelNotFoundError,
    NodeLostError,
    OverloadedError,
    StreamClosedError,
    StreamNotFoundError,
    error_body,
)
from everytoken.journal import StreamInfo
from everytoken.journal.ids import new_stream_id
from everytoken.json import dumps, loads
from everytoken.recovery import Breaker, Recovery, Router, conversation_of
from everytoken.relay.events import ResponseEvents
from everytoken.relay.learned import Learned
from everytoken.relay.logs import name_of
from everytoken.relay.response import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from everytoken.dialects.dialect import Dialect
    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.journal import Journal, Log, Writer
    from everytoken.observer import Observers
    from everytoken.recovery import Route, Target
    from everytoken.recovery.breaker import Circuit
    from everytoken.relay.sink import Headers, KeepHead
    from everytoken.upstream import Upstream

__all__ = ["Relays"]

logger = logging.getLogger("everytoken.relay")

_SEED_BITS = 31  # llama.cpp and several vendors take no larger seed
_STORED = 2.0  # seconds for the journal to store the ends of the last responses
_BATCH = 1024 * 1024  # bytes read at once of a response that is taken over


class Relays:
    """The responses this process is writing, and what they share."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        targets: Callable[[ModelRequest], Sequence[Target]],
        journal: Journal,
        *,
        grace: float | None = 60.0,
        max_response: int = 64 * 1024 * 1024,
        max_duration: float = 3600.0,
        redact: Callable[[str], str] = str,
        jitter: Callable[[], float] = random.random,
        observers: Observers | None = None,
        route: Route = "order",
        breaker: Breaker | None = None,
    ) -> None:
        """`targets` returns the upstreams that serve a request. Seconds: `grace` without a reader (None: no limit), `max_duration`.

        `max_response`: bytes that upstreams may send for a response. `redact` takes out of a text what is secret besides
        the upstreams' own secrets. `route`: by which rule the first of several upstreams is chosen.
        """
        self._max_response = max_response
        self._max_duration = max_duration
        self.upstreams, self._redact = upstreams, _redacting(redact, upstreams)
        self._targets = targets
        self.journal = journal
        self._grace = grace
        self._jitter = jitter
        self._observers = observers
        self._breaker = breaker or Breaker()
        self.router = Router(route)
        self.learned = Learned(journal)
        self.keep_head: KeepHead = _keep_nothing
        self._relays: dict[str, Relay] = {}
        self._empty = asyncio.Event()
        self.draining = False
        self._hurried = False

    def change(
        self,
        upstreams: Mapping[str, Upstream],
        *,
        grace: float,
        max_response: int,
        max_duration: float,
        redact: Callable[[str], str],
    ) -> None:
        """Have responses that begin from here on use other upstreams and limits."""
        self.upstreams, self._redact = upstreams, _redacting(redact, upstreams)
        self._grace, self._max_response, self._max_duration = grace, max_response, max_duration

    def redact(self, text: str) -> str:
        """Return `text` without the secrets of any upstream, nor our own."""
        return self._redact(text)

    def running(self) -> set[str]:
        """Return the ids of the responses that are being written here."""
        return set(self._relays)

    def __len__(self) -> int:
        return len(self._relays)

    async def begin(
        self,
        request: ModelRequest,
        *,
        owner: str = "",
        grace: float | str | None = "default",
        stream_id: str = "",
        request_id: str = "",
        first: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Relay:
        """Begin a response, under `stream_id` if that is given, at `first` if that is; every attempt sends `headers`.

        Raises `ModelNotFoundError`, `OverloadedError` while draining, `JournalError`.
        """
        if self.draining:
            raise OverloadedError("this node is shutting down and takes no more requests")
        targets = self._targets(request)
        if not targets:
            raise ModelNotFoundError(f"no upstream serves the model {request.model!r}", param="model")
        # With a seed a response is repeatable, so that another attempt can continue it.
        seed = request.seed if request.seed is not None else random.getrandbits(_SEED_BITS)
        lives = self._grace if isinstance(grace, str) else grace
        now = time.time()
        info = StreamInfo(
            id=stream_id or new_stream_id(now),
            content_type="application/json",
            owner=owner,
            created=now,
            meta=_meta(request, seed, lives, request_id, headers),
        )
        writer = await self.journal.create(info)
        ordered = self.ordered(request, targets)
        if first:
            ordered = sorted(ordered, key=lambda one: one.name != first)
        relay = self._relay(request, info, writer, ordered)
        relay.start()
        return relay

    def _relay(
        self, request: ModelRequest, info: StreamInfo, writer: Writer, targets: Sequence[Target]
    ) -> Relay:
        request.stream_id = info.id
        recovery = Recovery(
            request=request,
            targets=targets,
            seed=info.meta.get("seed"),
            jitter=self._jitter,
            experience=self.learned.by_target(request),
            breaker=self._breaker,
            hedging=True,
            created=int(info.created),
            redact=self._redact,
        )
        grace = info.meta.get("grace")
        events: ResponseEvents | None = None
        if self._observers:
            clock = asyncio.get_running_loop().time
            events = ResponseEvents(self._observers, info, recovery, writer.log, clock)
        relay = Relay(
            info.id,
            recovery,
            writer,
            self.upstreams,
            ended=self._ended,
            grace=grace,
            is_read_elsewhere=self.journal.is_read_elsewhere,
            max_bytes=self._max_response,
            max_seconds=max(0.0, self._max_duration - max(0.0, time.time() - info.created)),
            events=events,
            keep_head=self.keep_head,
        )
        self._relays[info.id] = relay
        return relay

    def ordered(self, request: ModelRequest, targets: Sequence[Target]) -> Sequence[Target]:
        """Return the upstreams for a request, the first to be asked in front; a prompt is read only if it matters."""
        if self.router.route == "order" or len(targets) < 2:
            return targets
        now, model = asyncio.get_running_loop().time(), request.model
        return self.router.order(
            targets,
            model=model,
            conversation=conversation_of(request.body.get("messages")),
            now=now,
            chance=self._jitter(),
            learned=self.learned.by_target(request),
            is_well=lambda target: self._breaker.allows((target.name, target.model or model), now),
        )

    # Taking over

    async def take_over(self) -> int:
        """Continue the responses whose writer is gone; return how many."""
        count = 0
        for stream_id in await self.journal.orphans():
            name = f"response {stream_id}"
            try:
                log = await self.journal.open(stream_id)
                name = name_of(log.info)
                count += await self._take_over(log)
            except (FencedError, StreamClosedError, StreamNotFoundError):
                continue  # another node was quicker
            except EverytokenError as error:
                logger.warning("%s cannot be taken over: %s (%s)", name, error.message, error.code)
            except Exception:  # a failure of one must not hold up the others
                logger.exception("%s cannot be taken over", name)
        return count

    async def _take_over(self, log: Log) -> bool:
        stream_id, meta = log.info.id, log.info.meta
        if "request" not in meta or stream_id in self._relays:
            return False  # not a response: the client that made it continues it
        dialect = dialect_of(meta)
        writer = await self.journal.claim(stream_id)
        with _ended_if_it_fails(writer, dialect):
            request = dialect.request(_restored(meta["request"]))
            targets = self._targets(request)
            if not targets:
                raise ModelNotFoundError(f"no upstream serves the model {request.model!r} any more")
            records = await read_all(writer.log)
            logger.info("%s: taken over at offset %d", name_of(log.info), len(records))
            relay = self._relay(request, writer.log.info, writer, self.ordered(request, targets))
            relay.resume(records, NodeLostError("the process that wrote the response is gone"))
        return True

    async def watch(self, interval: float) -> None:
        """Take over what others have left behind, every `interval` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.take_over()
                await self.learned.save()
            except JournalError as error:
                logger.warning("looking for responses to take over: %s (%s)", error.message, error.code)
            except Exception:  # one failure must not end the watch for good
                logger.exception("looking for responses to take over failed")

    # The end

    async def drain(self, seconds: float) -> None:
        """Take no more requests, let responses finish for `seconds`, then hand the rest over, or stop what is not durable."""
        self.draining = True
        if self._relays and not self._hurried:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        if not self._hurried:
            await _flushed(self.journal)
        for relay in list(self._relays.values()):
            relay.let_go() if self.journal.durable else relay.stop()

    def get(self, stream_id: str) -> Relay | None:
        """Return the relay that writes this stream here, or None."""
        return self._relays.get(stream_id)

    async def stop(self, stream_id: str) -> None:
        """Stop a response, wherever it is written; one that has ended, or is none, stays as it is.

        Written elsewhere, it is closed from here: its writer is fenced off and leaves the upstream. Raises `JournalError`.
        """
        if (relay := self._relays.get(stream_id)) is None:
            await _close_from_here(self.journal, stream_id)
        else:
            relay.stop()

    def set_aside(self) -> dict[Circuit, float]:
        """Return the upstreams and models that are set aside, and for how many more seconds."""
        return self._breaker.state(asyncio.get_running_loop().time())

    def can_try_any(self) -> bool:
        """Whether at least one upstream can be tried."""
        return not self.upstreams or not self.upstreams.keys() <= {name for name, _ in self.set_aside()}

    def hurry(self) -> None:
        """Do not wait for responses to finish, in a `drain` under way or a later one."""
        self._hurried = True
        self._empty.set()

    def _ended(self, relay: Relay) -> None:
        self._relays.pop(relay.stream_id, None)
        if not self._relays:
            self._empty.set()


def _meta(
    request: ModelRequest,
    seed: int,
    grace: float | None,
    request_id: str,
    headers: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return what another process needs to know to take a response over."""
    return {
        "dialect": request.dialect,
        "request": _stored(request.body),
        "seed": seed,
        "grace": grace,
        **({"request_id": request_id} if request_id else {}),
        **({"headers": dict(headers)} if headers else {}),
    }


async def _close_from_here(journal: Journal, stream_id: str) -> None:
    log = await journal.open(stream_id)
    if log.closed or "request" not in log.info.meta:
        return
    body = error_body(CancelledError("the response was stopped"))
    with contextlib.suppress(StreamClosedError, FencedError):
        writer = await journal.claim(stream_id)
        last = dialect_of(log.info.meta).error(body, number=writer.log.tail)
        writer.close([last], {"outcome": "cancelled", **body})


def _keep_nothing(_: Headers) -> Headers:
    """Stand for a list of headers that nobody wants."""
    return []


@contextlib.contextmanager
def _ended_if_it_fails(writer: Writer, dialect: Dialect) -> Iterator[None]:
    """End a response that has been taken over and cannot be continued: it is claimed, so nobody else finds it."""
    try:
        yield
    except Exception as error:
        failure = (
            error
            if isinstance(error, EverytokenError)
            else NodeLostError("what has been sent cannot be continued")
        )
        body = error_body(failure)
        with contextlib.suppress(EverytokenError):  # somebody else has it, or it is gone
            writer.close([dialect.error(body, number=writer.log.tail)], {"outcome": "interrupted", **body})
        raise


def _redacting(own: Callable[[str], str], upstreams: Mapping[str, Upstream]) -> Callable[[str], str]:
    """Return a function that takes out of a text what `own` and all upstreams do."""
    steps = [own, *(upstream.redact for upstream in upstreams.values())]

    def redact(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return redact


def _stored(body: dict[str, Any]) -> dict[str, Any] | str:
    """Return a request as a journal can keep it: JSON where it has half a surrogate pair, which is no text to msgpack."""
    try:
        msgspec.msgpack.encode(body)
    except UnicodeEncodeError:
        return dumps(body).decode()
    return body


def _restored(kept: dict[str, Any] | str) -> dict[str, Any]:
    body: dict[str, Any] = loads(kept) if isinstance(kept, str) else kept
    return body


async def _flushed(journal: Journal) -> None:
    """Wait until what is on its way to a journal is stored: readers have not seen the ends of the last responses before."""
    with contextlib.suppress(JournalError, TimeoutError):
        async with asyncio.timeout(_STORED):
            await journal.probe()


async def read_all(log: Log) -> list[bytes]:
    """Return every record of a log."""
    records: list[bytes] = []
    while len(records) < log.tail:
        some = log.take(len(records), _BATCH)
        records += await log.fetch(len(records), _BATCH) if some is None else some
        await asyncio.sleep(0)  # a long response must not hold up the others
    return records
