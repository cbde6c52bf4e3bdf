"""The ledger's verbs as Lua scripts.

``KEYS[1]`` is what every key of one history begins with, hash tag included. Below it lie::

    entries          hash    id -> digest of the event id in hex, a colon, the data
    written          zset    ids by the time they were written, microseconds of the server's clock
    ids              zset    ids in their own order
    event:<digest>   set     ids of one event id

All of it expires by itself when nobody has written for as long as entries are kept.
"""

from __future__ import annotations

from ...backends.redis.script import Script

__all__ = ["OF_EVENT", "PAGE", "SINCE", "TRIM", "WRITE", "WRITTEN"]

_HEAD = """\
local base = KEYS[1]
local entries, written, ids = base .. 'entries', base .. 'written', base .. 'ids'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Each id with what it stands for; ids that were trimmed meanwhile are left out.
local function rows(found)
  local answer = {}
  for _, id in ipairs(found) do
    local entry = redis.call('HGET', entries, id)
    if entry then
      answer[#answer + 1] = {id, entry, redis.call('ZSCORE', written, id) or '0'}
    end
  end
  return answer
end
"""

# ARGV: seconds to keep, then for each row its id, digest and data.
_WRITE = """
local score = string.format('%.0f', now)
for at = 2, #ARGV, 3 do
  local id, digest, data = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('HSETNX', entries, id, digest .. ':' .. data) == 1 then
    redis.call('ZADD', written, score, id)
    redis.call('ZADD', ids, 0, id)
    if digest ~= '' then
      redis.call('SADD', base .. 'event:' .. digest, id)
      redis.call('EXPIRE', base .. 'event:' .. digest, ARGV[1])
    end
  end
end
for _, key in ipairs({entries, written, ids}) do redis.call('EXPIRE', key, ARGV[1]) end
return #ARGV
"""

# ARGV: the bounds as ZRANGEBYLEX has them, the higher first; how many.
_PAGE = """
return rows(redis.call('ZREVRANGEBYLEX', ids, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3]))
"""

# ARGV: digest.
_OF_EVENT = """
return rows(redis.call('SMEMBERS', base .. 'event:' .. ARGV[1]))
"""

# ARGV: microseconds, how many.
_SINCE = """
return rows(redis.call('ZRANGEBYSCORE', written, ARGV[1], '+inf', 'LIMIT', 0, ARGV[2]))
"""

# ARGV: id.
_WRITTEN = """
return redis.call('ZSCORE', written, ARGV[1]) or string.format('%.0f', now)
"""

# ARGV: microseconds to keep, how many to keep, how many to delete at once.
_TRIM = """
local limit = tonumber(ARGV[3])
local oldest = string.format('%.0f', now - ARGV[1])
local out = redis.call('ZRANGEBYSCORE', written, '-inf', '(' .. oldest, 'LIMIT', 0, limit)
local surplus = math.min(limit, redis.call('ZCARD', written) - ARGV[2])
if surplus > #out then out = redis.call('ZRANGE', written, 0, surplus - 1) end
for _, id in ipairs(out) do
  local digest = string.match(redis.call('HGET', entries, id) or '', '^%x+')
  if digest then redis.call('SREM', base .. 'event:' .. digest, id) end
  redis.call('HDEL', entries, id)
  redis.call('ZREM', written, id)
  redis.call('ZREM', ids, id)
end
return #out
"""

WRITE = Script("history write", _HEAD + _WRITE)
PAGE = Script("history page", _HEAD + _PAGE)
OF_EVENT = Script("history of an event", _HEAD + _OF_EVENT)
SINCE = Script("history since", _HEAD + _SINCE)
WRITTEN = Script("history written", _HEAD + _WRITTEN)
TRIM = Script("history trim", _HEAD + _TRIM)
