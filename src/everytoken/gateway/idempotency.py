"""`Idempotency-Key`: the same request again attaches to the response it has begun, on any node, also after a restart.

Source: draft-ietf-httpapi-idempotency-key-header-07. Which response a key has begun is itself a stream in the journal,
whose creation only one of several concurrent requests can win. It belongs to nobody, so no route shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from everytoken.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    JournalError,
    OffsetExpiredError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.journal import StreamInfo
from everytoken.journal.ids import new_stream_id

if TYPE_CHECKING:
    from everytoken.journal import Journal, Log

__all__ = ["Attached", "attach", "find", "forget"]

_OWNER = "idempotency"  # no fingerprint looks like this
_KEPT = 86_400  # seconds
_MAX_KEY = 255
_TRIES = 100  # looks for a response that another request is just beginning
_PAUSE = 0.05  # seconds between them


class Attached(NamedTuple):
    """Which response a key stands for: one to begin under `stream_id`, or one that is there, `log`."""

    stream_id: str
    log: Log | None


async def attach(journal: Journal, *, owner: str, key: str, body: dict[str, Any]) -> Attached:
    """Find out what `key` stands for.

    A response that failed before anything of it was delivered is forgotten, so that trying again has a chance.
    Raises `InvalidRequestError` for a key that cannot be one, `IdempotencyConflictError` for another body.
    """
    name, digest = _names(owner, key, body)
    for attempt in range(
        _TRIES + 1
    ):  # one more than looks: the last of them takes over what nobody has begun
        now = time.time()
        stream_id = new_stream_id(now)
        claim = StreamInfo(
            id=name,
            content_type="application/json",
            owner=_OWNER,
            created=now,
            meta={"stream": stream_id, "digest": digest},
            ttl=_KEPT,
        )
        try:
            await journal.create(claim, closed=True)
        except StreamExistsError:
            found = await _found(journal, name, digest, give_up=attempt + 1 == _TRIES)
            if found is not None:
                return found
        else:
            return Attached(stream_id, None)
    raise IdempotencyConflictError("another request with this Idempotency-Key is still beginning")


async def forget(journal: Journal, *, owner: str, key: str, body: dict[str, Any]) -> None:
    """Let `key` stand for nothing again: the response that it was to stand for was refused before it began."""
    name, _ = _names(owner, key, body)
    with contextlib.suppress(JournalError):  # then the next request takes it over, after a while
        await journal.delete(name)


async def find(journal: Journal, *, owner: str, key: str, body: dict[str, Any]) -> Attached | None:
    """Return the response that `key` has begun; None if there is none. Nothing is stored. Raises as `attach` does."""
    name, digest = _names(owner, key, body)
    return await _found(journal, name, digest, give_up=False)


def _names(owner: str, key: str, body: dict[str, Any]) -> tuple[str, str]:
    """Return the name under which a key is kept, and what tells one body from another."""
    if not key or len(key) > _MAX_KEY:
        raise InvalidRequestError(
            f"an Idempotency-Key has 1 to {_MAX_KEY} characters", param="idempotency-key"
        )
    name = f"idempotency-{hashlib.sha256(f'{owner} {key}'.encode()).hexdigest()[:32]}"
    try:
        text = msgspec.json.encode(body, order="deterministic")
    except UnicodeEncodeError:  # half a surrogate pair
        text = json.dumps(body, sort_keys=True).encode()
    return name, hashlib.sha256(text).hexdigest()


async def _found(journal: Journal, name: str, digest: str, *, give_up: bool) -> Attached | None:
    """Return the response a key has begun; None when there is none any more, or not yet."""
    try:
        meta = (await journal.open(name)).info.meta
    except StreamNotFoundError:
        return None
    if meta["digest"] != digest:
        raise IdempotencyConflictError("this Idempotency-Key was used with another request body")
    try:
        log = await journal.open(meta["stream"])
    except StreamNotFoundError as error:
        if give_up or isinstance(error, OffsetExpiredError):
            await journal.delete(name)
        else:
            await asyncio.sleep(_PAUSE)
        return None
    if log.closed and (log.info.result or {}).get("outcome") == "failed":
        await journal.delete(name)
        return None
    return Attached(meta["stream"], log)
