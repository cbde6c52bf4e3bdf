"""The ledger's verbs as Lua scripts.

``KEYS[1]`` is what every key of one history begins with, hash tag included. Below it lie::

    data             hash    id -> the data of a page
    about            hash    id -> its number of entries, then the digests of its event ids in hex
    written          zset    ids by the time they were written, microseconds of the server's clock
    ids              zset    ids in their own order
    size             string  how many entries there are on all pages
    of:<digest>      zset    ids of the pages of one event in their own order

All of it expires by itself when nobody has written for as long as entries are kept.
"""

from __future__ import annotations

from ...backends.redis.script import Script

__all__ = ["FIND", "OF_EVENT", "SINCE", "TRIM", "WRITE", "WRITTEN"]

_HEAD = """\
local base = KEYS[1]
local data, about, size = base .. 'data', base .. 'about', base .. 'size'
local written, ids = base .. 'written', base .. 'ids'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function of(digest) return base .. 'of:' .. digest end

-- Pages by their ids; those that were trimmed meanwhile are left out.
local function pages(found)
  local answer = {}
  for _, id in ipairs(found) do
    local page = redis.call('HGET', data, id)
    if page then
      answer[#answer + 1] = {id, page, redis.call('ZSCORE', written, id) or '0'}
    end
  end
  return answer
end
"""

# ARGV: seconds to last, 1 to decide that, then for each page its id, size, digests and data.
_WRITE = """
local score = string.format('%.0f', now)
local lasting, decides = tonumber(ARGV[1]), ARGV[2] == '1'
if not decides then
  local others = redis.call('TTL', data)
  if others > 0 then lasting = others end
end

-- Who does not decide shortens nothing.
local function last(key)
  if decides or redis.call('TTL', key) < lasting then redis.call('EXPIRE', key, lasting) end
end

for at = 3, #ARGV, 4 do
  local id, entries, digests = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('HSETNX', data, id, ARGV[at + 3]) == 1 then
    redis.call('HSET', about, id, entries .. ' ' .. digests)
    redis.call('ZADD', written, score, id)
    redis.call('ZADD', ids, 0, id)
    redis.call('INCRBY', size, entries)
    for digest in string.gmatch(digests, '%x+') do
      redis.call('ZADD', of(digest), 0, id)
      last(of(digest))
    end
  end
end
for _, key in ipairs({data, about, written, ids, size}) do last(key) end
return #ARGV
"""

# ARGV: the bounds as ZRANGEBYLEX has them, the higher first; how many.
_FIND = """
return pages(redis.call('ZREVRANGEBYLEX', ids, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3]))
"""

# ARGV: digest, how many, ZRANGE for the first of them and ZREVRANGE for the last.
_OF_EVENT = """
return pages(redis.call(ARGV[3], of(ARGV[1]), 0, ARGV[2] - 1))
"""

# ARGV: microseconds, how many.
_SINCE = """
return pages(redis.call('ZRANGEBYSCORE', written, ARGV[1], '+inf', 'LIMIT', 0, ARGV[2]))
"""

# ARGV: id.
_WRITTEN = """
return redis.call('ZSCORE', written, ARGV[1]) or string.format('%.0f', now)
"""

# ARGV: microseconds to keep, how many entries to keep, how many pages to delete at once.
_TRIM = """
local limit = tonumber(ARGV[3])
local oldest = now - ARGV[1]
local left = tonumber(redis.call('GET', size) or 0)
local first = redis.call('ZRANGE', written, 0, limit - 1, 'WITHSCORES')
local trimmed = 0
for at = 1, #first, 2 do
  local id = first[at]
  local told = redis.call('HGET', about, id) or '0'
  local entries = tonumber(string.match(told, '^%d+'))
  if tonumber(first[at + 1]) >= oldest and left - entries < tonumber(ARGV[2]) then break end
  left = left - entries
  for digest in string.gmatch(told, ' (%x+)') do
    redis.call('ZREM', of(digest), id)
  end
  redis.call('HDEL', data, id)
  redis.call('HDEL', about, id)
  redis.call('ZREM', written, id)
  redis.call('ZREM', ids, id)
  redis.call('DECRBY', size, entries)
  trimmed = trimmed + 1
end
return trimmed
"""

WRITE = Script("history write", _HEAD + _WRITE)
FIND = Script("history find", _HEAD + _FIND)
OF_EVENT = Script("history of an event", _HEAD + _OF_EVENT)
SINCE = Script("history since", _HEAD + _SINCE)
WRITTEN = Script("history written", _HEAD + _WRITTEN)
TRIM = Script("history trim", _HEAD + _TRIM)
