"""The verbs as Lua scripts, made for :meth:`webhook_dedup.backends.redis.wire.Wire.run`."""

from __future__ import annotations

from ...backends.redis.script import Script

__all__ = ["CLAIM", "COMPLETE", "FOREIGN", "LOOK", "RELEASE", "RENEW", "YES"]

YES = "+"
"""A script's answer for a key of which it did, or found done, what was asked."""

FOREIGN = "?"
"""A script's answer for a key that holds something this library did not write."""

_HEAD = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now)

local function read(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  if string.find(value.err, 'WRONGTYPE', 1, true) then return '' end
  error(value.err)
end

local function standing(value, token)
  if not value then return 'absent' end
  local state = string.sub(value, 1, 5)
  if state ~= 'held ' and state ~= 'done ' then return 'foreign' end
  if string.sub(value, 6, 6 + #token) ~= token .. ' ' then return 'taken' end
  return state == 'held ' and 'mine' or 'finished'
end
"""

_LOOP = """
local each = #ARGV / #KEYS
local codes, answer = {}, {''}
for i, key in ipairs(KEYS) do
  local code, found = verb(key, unpack(ARGV, (i - 1) * each + 1, i * each))
  codes[i] = code
  answer[#answer + 1] = found
end
answer[1] = now_text .. ' ' .. table.concat(codes)
return answer[2] and answer or answer[1]
"""

# Tells the value found, behind how long it still lives.
_FIND = """
local function find(key)
  local value = read(key)
  if not value then return '-' end
  return '=', redis.call('PTTL', key) .. ' ' .. value
end
"""

_CLAIM = """
local function verb(key, token, fingerprint, lease)
  local claim = 'held ' .. token .. ' ' .. now_text .. ' ' .. fingerprint
  if redis.call('SET', key, claim, 'NX', 'PX', lease) then return '+' end
  return find(key)
end
"""

_LOOK = """
local verb = find
"""

# A claim is told as it stands in the value; where its time is not known, a dash is in its place.
# A server that is full refuses what may grow unless the script has written before. What has run
# must still be marked: until then its delivery stays in the inbox, and nothing else makes room.
_COMPLETE = """
local function set(key, value, ttl)
  local answer = redis.pcall('SET', key, value, 'PX', ttl)
  if not answer.err then return end
  if not string.find(answer.err, 'OOM', 1, true) then error(answer.err) end
  redis.call('DEL', key)
  redis.call('SET', key, value, 'PX', ttl)
end

local expiries = setmetatable({}, {__index = function(known, ttl)
  known[ttl] = string.format('%.0f', now + ttl)
  return known[ttl]
end})

local function verb(key, claim, ttl, tail)
  local value = read(key)
  if value ~= 'held ' .. claim then
    local is = standing(value, string.match(claim, '^%S*'))
    if is == 'foreign' then return '?' end
    if is == 'taken' then return '-' end
    if is == 'finished' then return '+' end
    if is == 'mine' then
      claim = string.sub(value, 6)
    else
      claim = string.gsub(claim, '^(%S*) %- ', '%1 ' .. now_text .. ' ')
    end
  end
  set(key, 'done ' .. claim .. ' ' .. expiries[ttl] .. tail, ttl)
  return '+'
end
"""

_RELEASE = """
local function verb(key, token)
  local is = standing(read(key), token)
  if is == 'foreign' then return '?' end
  if is == 'mine' then redis.call('DEL', key) end
  return (is == 'mine' or is == 'absent') and '+' or '-'
end
"""

_RENEW = """
local function verb(key, token, lease)
  local is = standing(read(key), token)
  if is == 'foreign' then return '?' end
  if is ~= 'mine' then return '-' end
  redis.call('PEXPIRE', key, lease)
  return '+'
end
"""


CLAIM = Script("claim", _HEAD + _FIND + _CLAIM + _LOOP)
LOOK = Script("look", _HEAD + _FIND + _LOOK + _LOOP)
COMPLETE = Script("complete", _HEAD + _COMPLETE + _LOOP)
RELEASE = Script("release", _HEAD + _RELEASE + _LOOP)
RENEW = Script("renew", _HEAD + _RENEW + _LOOP)
