"""What was learned of upstreams and models, kept in the journal so that a restart does not pay for it again."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import EverytokenError, StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, StreamInfo
from everytoken.journal.quota import OWN
from everytoken.recovery import LearnedCapabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Request
    from everytoken.journal import Journal, Log
    from everytoken.recovery import Target

__all__ = ["Learned"]

logger = logging.getLogger("everytoken.relay")

_STREAM = "~learned"  # callers cannot make a stream with such a name, nor read one that is nobody's
_FIRST_API = "openai-chat"  # the one that older versions knew
_MOST = 1024  # upstreams and models that are remembered
_LONG = 4096  # records from which on the stream is deleted and what is known is stored again
_BATCH = 1024 * 1024


class _Record(msgspec.Struct, array_like=True):
    upstream: str
    model: str
    learned: LearnedCapabilities


_decode = msgspec.json.Decoder(_Record).decode


class Learned:
    """What was learned, by upstream and model. What it stores is only a hint: a journal that fails is logged, and no more."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[tuple[str, str], LearnedCapabilities] = {}
        self._stored: dict[tuple[str, str], bytes] = {}

    def of(self, upstream: str, model: str, api: str = _FIRST_API) -> LearnedCapabilities:
        """Return what is known of an upstream and model, asked in the API of a dialect, to be added to."""
        if api != _FIRST_API:
            upstream = f"{upstream} ({api})"
        known = self._known.get((upstream, model))
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()  # callers choose the model's name: what they can make grow must have a limit
                self._stored.clear()
            known = self._known[upstream, model] = LearnedCapabilities()
        return known

    def all(self) -> dict[tuple[str, str], LearnedCapabilities]:
        """Return what is known, by upstream (with the API that it is asked in, if that is not the first) and model."""
        return dict(self._known)

    def by_target(self, request: Request) -> Callable[[Target], LearnedCapabilities]:
        """Return a function to what is known of an upstream that may be asked for the response to `request`."""
        model, dialect = request.model, request.dialect
        if dialect == "pass-through":
            dialect = _FIRST_API  # it is not measured
        return lambda target: self.of(target.name, target.model or model, target.api(dialect))

    async def load(self) -> None:
        """Read what was stored before."""
        if not self._journal.durable:
            return
        try:
            log = await self._journal.open(_STREAM)
            records = await _read(log)
        except StreamNotFoundError:
            return
        except EverytokenError as error:
            logger.warning("what was learned of upstreams cannot be read: %s (%s)", error.message, error.code)
            return
        for record in records:
            try:
                found = _decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # of a version with other fields
            # A time of another process says nothing here.
            found.learned.measured = found.learned.missing_until = 0.0
            self._known[found.upstream, found.model] = found.learned
            self._stored[found.upstream, found.model] = _lasting(found.learned)
        if len(records) > _LONG:
            await self._store_again()

    async def save(self) -> None:
        """Store what has changed since the last time."""
        if not self._journal.durable:
            return
        changed = {
            key: lasting
            for key, learned in self._known.items()
            if self._stored.get(key) != (lasting := _lasting(learned))
        }
        # What is as on the first day need not be told.
        records = [self._record(key) for key in changed if self._known[key] != LearnedCapabilities()]
        try:
            if records and await self._append(records) > _LONG:
                await self._store_again()
        except EverytokenError as error:
            logger.warning(
                "what was learned of upstreams cannot be stored: %s (%s)", error.message, error.code
            )
        else:
            self._stored.update(changed)

    def _record(self, key: tuple[str, str]) -> bytes:
        return msgspec.json.encode(_Record(*key, self._known[key]))

    async def _append(self, records: list[bytes]) -> int:
        """Store records; return how many the stream has then."""
        try:
            return (await self._journal.submit(_STREAM, Append(records=records))).tail
        except StreamNotFoundError:
            info = StreamInfo(
                id=_STREAM, content_type="application/json", owner=OWN, created=time.time(), shared=True
            )
            try:
                await self._journal.create(info, records)
            except StreamExistsError:  # another node was quicker
                return (await self._journal.submit(_STREAM, Append(records=records))).tail
        return len(records)

    async def _store_again(self) -> None:
        try:
            await self._journal.delete(_STREAM)
            await self._append([self._record(key) for key in self._known])
        except EverytokenError as error:
            logger.warning(
                "what was learned of upstreams cannot be stored: %s (%s)", error.message, error.code
            )


def _lasting(learned: LearnedCapabilities) -> bytes:
    """Return what is worth storing for: what upstreams take, and times to about half a second."""
    longest = round(2 * max(learned.waits, default=0.0)), round(2 * max(learned.gaps, default=0.0))
    return msgspec.json.encode(
        (learned.prefill, learned.additions, learned.streaming, learned.refuses, longest)
    )


async def _read(log: Log) -> Sequence[bytes]:
    records: list[bytes] = []
    while len(records) < log.tail:
        some = log.take(len(records), _BATCH)
        records += await log.fetch(len(records), _BATCH) if some is None else some
    return records
