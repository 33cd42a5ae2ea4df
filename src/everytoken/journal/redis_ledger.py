"""The counters of `everytoken.journal.ledger` in Redis: all nodes share them, and each reservation is one step there.

A counter is a hash of seconds (`window`), a sorted set of reservations (`running`) or a number (`total`). An open
reservation is a string, and all of them are in one sorted set by their time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.journal.ledger import WINDOW, Demand, Refusal, Reservation
from everytoken.journal.redis_connection import pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from everytoken.journal.redis_entries import Keys

__all__ = ["RedisLedger"]

_LONGEST: Final = 400 * 86_400  # seconds that a total is kept

# KEYS open reservations, this one, then the counters; ARGV name, now, until, the reservation as stored, then for each counter
# its kind, amount and limit. Answers with 0, which refuses and the wait in ms (-1: not soon), or 1 and what is left of each.
_RESERVE: Final = """
local now, name = tonumber(ARGV[2]), ARGV[1]
local there = redis.call('EXISTS', KEYS[2]) == 1
local answer = {1}
for i = 3, #KEYS do
  local at = 5 + (i - 3) * 3
  local kind, amount, limit = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local taken = 0
  local seconds = {}
  if kind == 'total' then
    taken = tonumber(redis.call('GET', KEYS[i]) or '0')
  elseif kind == 'running' then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[2])
    taken = redis.call('ZCARD', KEYS[i])
  else
    local all = redis.call('HGETALL', KEYS[i])
    for j = 1, #all, 2 do
      local second = tonumber(all[j])
      if second <= now - WINDOW then
        redis.call('HDEL', KEYS[i], all[j])
      else
        taken = taken + tonumber(all[j + 1])
        seconds[#seconds + 1] = {second, tonumber(all[j + 1])}
      end
    end
  end
  if not there and limit > 0 and taken + amount > limit then
    local wait = -1
    if kind == 'running' then wait = 1000 end
    if kind == 'window' then
      local over = taken + amount - limit
      table.sort(seconds, function(a, b) return a[1] < b[1] end)
      for _, one in ipairs(seconds) do
        over = over - one[2]
        if over <= 0 then
          wait = math.max(0, math.ceil((one[1] + WINDOW - now) * 1000))
          break
        end
      end
    end
    return {0, i - 3, wait}
  end
  local more = there and 0 or amount
  answer[#answer + 1] = limit > 0 and math.max(0, limit - taken - more) or 0
end
if there then return answer end
for i = 3, #KEYS do
  local at = 5 + (i - 3) * 3
  local kind, amount = ARGV[at], tonumber(ARGV[at + 1])
  if kind == 'total' then
    redis.call('INCRBY', KEYS[i], amount)
    redis.call('EXPIRE', KEYS[i], LONGEST)
  elseif kind == 'running' then
    redis.call('ZADD', KEYS[i], ARGV[3], name)
    redis.call('EXPIRE', KEYS[i], LONGEST)
  else
    redis.call('HINCRBY', KEYS[i], string.format('%d', math.floor(now)), amount)
    redis.call('EXPIRE', KEYS[i], WINDOW * 2)
  end
end
redis.call('SET', KEYS[2], ARGV[4], 'EX', LONGEST)
redis.call('ZADD', KEYS[1], ARGV[2], name)
return answer
""".replace("WINDOW", str(WINDOW)).replace("LONGEST", str(_LONGEST))

# KEYS open reservations, this one, then its counters; ARGV name, now, when it was made, then for each counter its kind, what
# was reserved and what was taken.
_SETTLE: Final = """
if redis.call('DEL', KEYS[2]) == 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 3, #KEYS do
  local at = 4 + (i - 3) * 3
  local kind, more = ARGV[at], tonumber(ARGV[at + 2]) - tonumber(ARGV[at + 1])
  if kind == 'total' then
    redis.call('INCRBY', KEYS[i], more)
  elseif kind == 'running' then
    redis.call('ZREM', KEYS[i], ARGV[1])
  elseif tonumber(ARGV[3]) > tonumber(ARGV[2]) - WINDOW then
    redis.call('HINCRBY', KEYS[i], ARGV[3], more)
    redis.call('EXPIRE', KEYS[i], WINDOW * 2)
  end
end
return 1
""".replace("WINDOW", str(WINDOW))

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Reservation).decode


class RedisLedger:
    """Counters in Redis; `ask` sends one command and returns its reply. See `everytoken.journal.ledger.Ledger`."""

    def __init__(self, ask: Callable[[bytes], Awaitable[Any]], keys: Keys) -> None:
        self._ask = ask
        self._keys = keys

    async def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand]
    ) -> Refusal | list[int]:
        """Reserve in one step. Raises `JournalUnavailableError`."""
        keys = [self._keys.reserved, self._key(name), *map(self._counter, demands)]
        made = _encode(Reservation(int(now), until, list(demands)))
        what = [part for demand in demands for part in (demand.kind, demand.amount, demand.limit)]
        reply = await self._ask(
            pack("EVAL", _RESERVE, len(keys), *keys, name, f"{now:.3f}", f"{until:.3f}", made, *what)
        )
        if reply[0] == 0:
            return Refusal(reply[1], None if reply[2] < 0 else reply[2] / 1000)
        return list(reply[1:])

    async def settle(self, name: str, now: float, amounts: Sequence[int]) -> bool:
        """Settle in one step. Raises `JournalUnavailableError`."""
        stored = await self._ask(pack("GET", self._key(name)))
        if stored is None:
            return False
        reservation = _decode(stored)
        keys = [self._keys.reserved, self._key(name), *map(self._counter, reservation.demands)]
        pairs = zip(reservation.demands, amounts, strict=True)
        what = [part for demand, amount in pairs for part in (demand.kind, demand.amount, amount)]
        reply = await self._ask(
            pack("EVAL", _SETTLE, len(keys), *keys, name, f"{now:.3f}", reservation.at, *what)
        )
        return bool(reply)

    async def reservation(self, name: str) -> Reservation | None:
        """Return an open reservation, None if it is none. Raises `JournalUnavailableError`."""
        stored = await self._ask(pack("GET", self._key(name)))
        return None if stored is None else _decode(stored)

    async def open_before(self, at: float) -> list[tuple[str, Reservation]]:
        """Return what has not been settled. Raises `JournalUnavailableError`."""
        names = await self._ask(
            pack("ZRANGEBYSCORE", self._keys.reserved, "-inf", f"{at:.3f}", "LIMIT", 0, 1000)
        )
        found = []
        for name in names:
            stored = await self._ask(pack("GET", self._key(name.decode())))
            if stored is None:
                await self._ask(pack("ZREM", self._keys.reserved, name))
            else:
                found.append((name.decode(), _decode(stored)))
        return found

    async def totals(self, counters: Sequence[str]) -> list[int]:
        """Return what counters hold. Raises `JournalUnavailableError`."""
        if not counters:
            return []
        found = await self._ask(pack("MGET", *(self._keys.counter("t", name) for name in counters)))
        return [int(value or 0) for value in found]

    def _key(self, name: str) -> bytes:
        return self._keys.counter("r", name)

    def _counter(self, demand: Demand) -> bytes:
        return self._keys.counter(demand.kind[:1], demand.counter)
