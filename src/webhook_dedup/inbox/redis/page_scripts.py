"""Searches by people, as Lua scripts over the keys that :mod:`.scripts` describes."""

from __future__ import annotations

from ...backends.redis.script import Script
from .scripts import HEAD

__all__ = ["PAGE", "SIZE"]

_AGES = """
-- The times of arrival between two ages in seconds, '' for no bound.
local function arrivals(older, younger)
  local latest = older ~= '' and now / 1000000 - tonumber(older)
  local earliest = younger ~= '' and now / 1000000 - tonumber(younger)
  return earliest, latest
end
"""

# ARGV: index, older, younger, limit, the id to begin after and its score, '' where not known, 1 to
# pass over the dead, and the source, the event id and the text in lower case of the last history
# entry to pass over all others, '' for any. Answers the score, how many ids were looked at and, of
# each but those passed over, and always of the last: id, score, state, source, event id, last
# history entry; of an id without a row the first two and why.
_PAGE = """
local index = base .. ARGV[1]
local earliest, latest = arrivals(ARGV[2], ARGV[3])
local limit, after, score = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local alive, source, event_id, text = ARGV[7] == '1', ARGV[8], ARGV[9], ARGV[10]

local function first()
  local rank = after ~= '' and redis.call('ZRANK', index, after)
  if rank then return rank + 1 end
  if score == '' then score = after ~= '' and redis.call('ZSCORE', received, after) end
  return score and redis.call('ZCOUNT', index, '-inf', '(' .. score) or 0
end

-- A pattern that begins anywhere would try so from each byte, and hold up the server for seconds.
local function last_entry(id)
  local history = redis.pcall('HGET', item(id), 'history')
  return type(history) == 'string' and (string.match(history, '^.*\\n(.*)$') or history)
end

local from = first()
if earliest then
  local young = redis.call('ZCOUNT', index, '-inf', '(' .. string.format('%.6f', earliest))
  from = math.max(from, young)
end
local ids = redis.call('ZRANGE', index, from, from + limit - 1, 'WITHSCORES')
local page, number = {}, 0

local function summary(id, at)
  local row, no = read(id)
  if not row then return {id, at, no} end
  local names = redis.call('HMGET', item(id), 'source', 'event_id')
  return {id, at, row.dead, names[1], names[2], last_entry(id)}
end

local function passed_over(id)
  if alive and redis.call('ZSCORE', dead, id) then return true end
  if source ~= '' or event_id ~= '' then
    local names = redis.pcall('HMGET', item(id), 'source', 'event_id')
    if source ~= '' and names[1] ~= source then return true end
    if event_id ~= '' and names[2] ~= event_id then return true end
  end
  return text ~= '' and not string.find(string.lower(last_entry(id) or ''), text, 1, true)
end

for i = 1, #ids, 2 do
  if latest and tonumber(ids[i + 1]) > latest then break end
  number = number + 1
  if i == #ids - 1 or not passed_over(ids[i]) then
    page[#page + 1] = summary(ids[i], ids[i + 1])
  end
end
return {score or '', number, page}
"""

# ARGV: index, older, younger.
_SIZE = """
local earliest, latest = arrivals(ARGV[2], ARGV[3])
local function bound(time, none) return time and string.format('%.6f', time) or none end
return redis.call('ZCOUNT', base .. ARGV[1], bound(earliest, '-inf'), bound(latest, '+inf'))
"""

PAGE = Script("page", HEAD + _AGES + _PAGE)
SIZE = Script("size", HEAD + _AGES + _SIZE)
