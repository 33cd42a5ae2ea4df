"""What Redis does in one step, as scripts.

A stream is a Redis Stream (`everytoken:s:ID`) and a string (`everytoken:i:ID`: what is known of it, in MessagePack).
An entry's id is `<epoch + 1>-<2 * tail + closed>`, with the tail behind it. Redis takes only ids that rise, so that one
rule fences off a writer of an earlier epoch, and knows what is sent again. Appends need no script for that reason.

A deleted stream leaves a string in the Redis Stream's place for a while: its writer then knows that it was deleted,
and not lost.
"""

from __future__ import annotations

__all__ = ["CHANGE", "CHARGE", "CREATE", "DELETE", "READ", "RELEASE", "SEAL"]

# KEYS stream, info, the node's open streams, producers; ARGV entry id, info, life in ms ('' for no limit), stream id, score ('' for
# none: nobody's), then the entry's fields
CREATE = """
if redis.call('TYPE', KEYS[1]).ok == 'stream' then return 'EXISTS' end
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('XADD', KEYS[1], ARGV[1], unpack(ARGV, 6))
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
if ARGV[5] ~= '' then redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4]) end
return 'OK'
"""

# KEYS stream, info, the open streams it leaves, those it joins, producers; ARGV id of the last entry as seen, entry id,
# info, life in ms ('' as it is), stream id, score ('' to join none), producer ('' for none), its mark, then the entry's
# fields
CHANGE = """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return 'GONE' end
if redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1] ~= ARGV[1] then return 'OTHER' end
redis.call('XADD', KEYS[1], ARGV[2], unpack(ARGV, 9))
redis.call('SET', KEYS[2], ARGV[3], 'KEEPTTL')
if ARGV[7] ~= '' then redis.call('HSET', KEYS[5], ARGV[7], ARGV[8]) end
if ARGV[4] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
local life = redis.call('PTTL', KEYS[1])
if life > 0 then redis.call('PEXPIRE', KEYS[5], life) end
if KEYS[3] ~= KEYS[4] or ARGV[6] == '' then redis.call('ZREM', KEYS[3], ARGV[5]) end
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[4], ARGV[6], ARGV[5]) end
return 'OK'
"""

# KEYS stream; ARGV id of its last entry, the fields of the one entry that stands for all
SEAL = """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return 'GONE' end
if redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1] ~= ARGV[1] then return 'OTHER' end
local life = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[1], ARGV[1], unpack(ARGV, 2))
if life > 0 then redis.call('PEXPIRE', KEYS[1], life) end
return 'OK'
"""

# KEYS stream, info, the open streams it leaves, producers; ARGV stream id, ms that its writer can know it by
DELETE = """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return 'GONE' end
redis.call('DEL', KEYS[2], KEYS[4])
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 'OK'
"""

# KEYS stream; ARGV id to begin at, bytes of fields that are enough. Entries can be of any size: a fixed number of them
# could be too much to hold.
READ = """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return {} end
local found, size, start, count, enough = {}, 0, ARGV[1], 1, tonumber(ARGV[2])
while size < enough do
  local some = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', count)
  for _, entry in ipairs(some) do
    if size >= enough then return found end
    found[#found + 1] = entry
    for _, part in ipairs(entry[2]) do size = size + #part end
  end
  if #some < count then break end
  start = '(' .. some[count][1]
  count = math.max(1, math.min(16, math.floor((enough - size) * #found / size)))
end
return found
"""

# KEYS bytes of each stream of an owner, their sum and number; ARGV stream id, bytes added
CHARGE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then redis.call('HINCRBY', KEYS[2], 'streams', 1) end
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'bytes', ARGV[2])
return 'OK'
"""

# KEYS as above; ARGV ids of the streams that are gone
RELEASE = """
for _, id in ipairs(ARGV) do
  local size = redis.call('HGET', KEYS[1], id)
  if size then
    redis.call('HDEL', KEYS[1], id)
    redis.call('HINCRBY', KEYS[2], 'bytes', string.format('%d', -size))
    redis.call('HINCRBY', KEYS[2], 'streams', -1)
  end
end
return 'OK'
"""
