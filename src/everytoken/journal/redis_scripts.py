"""What Redis does in one step, as scripts: each is atomic, and safe to be called again with the same arguments.

A stream is a hash (`et:ID`: what is known of it) and a Redis Stream (`et:ID:log`). An entry of the latter holds the
records of one group commit in MessagePack under the id `<offset behind them>-0`, so that an offset leads straight to
its entry; `<tail>-1` marks the end. `et:open` maps the streams that have a writer to its node.
"""

from __future__ import annotations

__all__ = ["APPEND", "CLAIM", "CREATE", "DELETE", "SUBMIT"]

# Shared by the scripts that append: put records behind `tail`, leaving out those that are there already.
_PUT = """
local function put(log, first, last, payload, tail)
  if last <= tail then return tail end
  if first < tail then
    local records, rest = cmsgpack.unpack(payload), {}
    for i = tail - first + 1, #records do rest[#rest + 1] = records[i] end
    payload = cmsgpack.pack(rest)
  end
  redis.call('XADD', log, last .. '-0', 'r', payload)
  return last
end
local function finish(info, log, tail, result)
  redis.call('HSET', info, 'closed', '1', 'result', result)
  redis.call('XADD', log, tail .. '-1', 'c', result)
end
"""

CREATE = (
    _PUT
    + """
-- KEYS info, log, open; ARGV info, epoch, node ('' for none), count, payload, result ('' for open), milliseconds
if redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end
local count = tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'info', ARGV[1], 'epoch', ARGV[2], 'tail', count, 'closed', '0', 'marks', '')
put(KEYS[2], 0, count, ARGV[5], 0)
if ARGV[6] ~= '' then finish(KEYS[1], KEYS[2], count, ARGV[6])
elseif ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[8], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return 'ok'
"""
)

APPEND = (
    _PUT
    + """
-- KEYS open, then info, log of every stream; ARGV milliseconds, then id, epoch, first, last, payload, result of each
local replies = {}
for i = 1, (#KEYS - 1) / 2 do
  local info, log, at = KEYS[2 * i], KEYS[2 * i + 1], 2 + 6 * (i - 1)
  local state = redis.call('HMGET', info, 'epoch', 'tail', 'closed')
  local tail, first, last = tonumber(state[2]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if not state[1] then replies[i] = 'missing'
  elseif tonumber(state[1]) ~= tonumber(ARGV[at + 1]) then replies[i] = 'fenced'
  elseif first > tail then replies[i] = 'gap:' .. tail
  elseif state[3] == '1' then replies[i] = (last <= tail) and 'ok' or 'fenced'
  else
    local now = put(log, first, last, ARGV[at + 4], tail)
    if now ~= tail then redis.call('HSET', info, 'tail', now) end
    if ARGV[at + 5] ~= '' then
      finish(info, log, now, ARGV[at + 5])
      redis.call('HDEL', KEYS[1], ARGV[at])
      redis.call('PEXPIRE', info, ARGV[1])
      redis.call('PEXPIRE', log, ARGV[1])
    elseif math.floor(now / 256) ~= math.floor(tail / 256) then
      redis.call('PEXPIRE', info, ARGV[1])
      redis.call('PEXPIRE', log, ARGV[1])
    end
    replies[i] = 'ok'
  end
end
return replies
"""
)

SUBMIT = (
    _PUT
    + """
-- KEYS info, log; ARGV tail and marks that were checked, count, payload, marks after, result ('' for open)
local state = redis.call('HMGET', KEYS[1], 'tail', 'marks', 'closed')
if not state[1] then return 'missing' end
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] or state[3] == '1' then return 'again' end
local tail = tonumber(state[1])
local last = put(KEYS[2], tail, tail + tonumber(ARGV[3]), ARGV[4], tail)
redis.call('HSET', KEYS[1], 'tail', last, 'marks', ARGV[5])
if ARGV[6] ~= '' then finish(KEYS[1], KEYS[2], last, ARGV[6]) end
return 'ok'
"""
)

CLAIM = """
-- KEYS info, open; ARGV id, epoch that was seen, node
local state = redis.call('HMGET', KEYS[1], 'epoch', 'closed')
if not state[1] then return 'missing' end
if state[2] == '1' then return 'closed' end
if tonumber(state[1]) ~= tonumber(ARGV[2]) then return 'fenced' end
redis.call('HSET', KEYS[1], 'epoch', tonumber(ARGV[2]) + 1)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'ok'
"""

DELETE = """
-- KEYS info, log, open; ARGV id
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('DEL', KEYS[1], KEYS[2])
"""
