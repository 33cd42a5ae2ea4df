"""Which response a chat is at: a small stream of the journal for each chat, so that any node knows, at any time.

Every response of a chat appends its turn; when somebody has been sent its end, a mark follows. A stream's name begins
with a character that no caller's stream may begin with, and holds the chat's and its owner's names only as a hash.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import InvalidRequestError, StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, StreamInfo
from everytoken.journal.quota import chats_of
from everytoken.json import dumps

if TYPE_CHECKING:
    from everytoken.journal import Journal, Log

__all__ = ["MAX_ID", "Chat", "Turn"]

MAX_ID: Final = 256
"""Characters in a chat's id; the AI SDK makes 16."""

_MAX_TTL = 10 * 365 * 86_400  # for who keeps everything


class Turn(msgspec.Struct, omit_defaults=True):
    """A response of a chat.

    `message` is the id of the message it makes up, `metadata` and `parts` what that message held before. `seen` marks the
    end of `stream` as delivered; the rest is empty then.
    """

    stream: str
    message: str = ""
    metadata: Any = None
    parts: list[Any] = []
    seen: bool = False


class Chat:
    """One chat of one owner. It is forgotten when it has not been used for `retention` seconds.

    Raises `InvalidRequestError` for an id that is empty or too long.
    """

    def __init__(self, journal: Journal, chat_id: str, *, owner: str, retention: float) -> None:
        if not 1 <= len(chat_id) <= MAX_ID:
            raise InvalidRequestError(f"a chat's id has 1 to {MAX_ID} characters", param="id")
        self._journal = journal
        self._owner = owner
        self._ttl = int(min(max(retention, 1), _MAX_TTL))
        name = hashlib.sha256(f"{owner}\0{chat_id}".encode("utf-8", "surrogatepass")).hexdigest()
        self._stream_id = f"~chat.{name[:40]}"

    async def begin(self, turn: Turn) -> None:
        """Make `turn` the newest of the chat. Raises `JournalUnavailableError`."""
        # Somebody else may create or forget the stream between two of these steps.
        for _ in range(3):
            try:
                await self._append(turn)
            except StreamNotFoundError:
                info = StreamInfo(
                    id=self._stream_id,
                    content_type="application/json",
                    owner=chats_of(self._owner),
                    created=time.time(),
                    ttl=self._ttl,
                    shared=True,
                )
                try:
                    await self._journal.create(info, [dumps(turn)])
                except StreamExistsError:
                    continue
            return
        await self._append(turn)

    async def current(self) -> Turn | None:
        """Return the newest turn, unless its end has been delivered. Raises `JournalUnavailableError`."""
        try:
            log = await self._journal.open(self._stream_id)
        except StreamNotFoundError:
            return None
        seen: set[str] = set()
        for offset in range(log.tail - 1, -1, -1):
            turn = await _turn_at(log, offset)
            if not turn.seen:
                return None if turn.stream in seen else turn
            seen.add(turn.stream)
        return None

    async def delivered(self, stream_id: str) -> None:
        """Record that a reader of `stream_id` has been sent its end. Raises `JournalError`."""
        turn = await self.current()
        if turn is not None and turn.stream == stream_id:
            await self._append(Turn(stream=stream_id, seen=True))

    async def _append(self, turn: Turn) -> None:
        await self._journal.submit(self._stream_id, Append(records=[dumps(turn)]))


async def _turn_at(log: Log, offset: int) -> Turn:
    records = log.take(offset, 1)
    if records is None:
        records = await log.fetch(offset, 1)
    return msgspec.json.decode(records[0], type=Turn)
