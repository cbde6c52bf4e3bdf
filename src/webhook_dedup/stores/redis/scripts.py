"""The verbs as Lua scripts.

Each takes any number of keys and the same number of arguments for each of them, and answers with
one element a key and, last, the server's time in milliseconds. In a Redis Cluster they are run
with one key a call.
"""

from __future__ import annotations

from ...backends.redis.script import Script

__all__ = ["ABSENT", "CLAIM", "COMPLETE", "FOREIGN", "LOOK", "RELEASE", "RENEW"]

FOREIGN = 0
"""A script's answer for a key that holds something this library did not write."""

ABSENT = -1
"""What ``LOOK`` answers for a key that is neither held nor done."""

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
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = verb(key, unpack(ARGV, (i - 1) * each + 1, i * each))
end
answers[#KEYS + 1] = now
return answers
"""

# Answers the time for a fresh claim, else the value found and how long it still lives.
_CLAIM = """
local function verb(key, token, fingerprint, lease)
  local value = read(key)
  if value == '' then return 0 end
  if value then return {value, redis.call('PTTL', key)} end
  local claim = 'held ' .. token .. ' ' .. now_text .. ' ' .. fingerprint
  redis.call('SET', key, claim, 'PX', lease)
  return now
end
"""

# Answers the value found and how long it still lives.
_LOOK = """
local function verb(key)
  local value = read(key)
  if value == '' then return 0 end
  return value and {value, redis.call('PTTL', key)} or -1
end
"""

# The rest answer 1 for yes, -1 for no.
_COMPLETE = """
local function verb(key, token, first_seen, fingerprint, ttl, tail)
  local value = read(key)
  local is = standing(value, token)
  if is == 'foreign' then return 0 end
  if is == 'taken' then return -1 end
  if is == 'finished' then return 1 end
  local claim
  if is == 'mine' then
    claim = string.sub(value, 6)
  else
    if first_seen == '' then first_seen = now_text end
    claim = token .. ' ' .. first_seen .. ' ' .. fingerprint
  end
  local done = 'done ' .. claim .. ' ' .. string.format('%.0f', now + ttl) .. tail
  redis.call('SET', key, done, 'PX', ttl)
  return 1
end
"""

_RELEASE = """
local function verb(key, token)
  local is = standing(read(key), token)
  if is == 'foreign' then return 0 end
  if is == 'mine' then redis.call('DEL', key) end
  return (is == 'mine' or is == 'absent') and 1 or -1
end
"""

_RENEW = """
local function verb(key, token, lease)
  local is = standing(read(key), token)
  if is == 'foreign' then return 0 end
  if is ~= 'mine' then return -1 end
  redis.call('PEXPIRE', key, lease)
  return 1
end
"""


CLAIM = Script("claim", _HEAD + _CLAIM + _LOOP)
LOOK = Script("look", _HEAD + _LOOK + _LOOP)
COMPLETE = Script("complete", _HEAD + _COMPLETE + _LOOP)
RELEASE = Script("release", _HEAD + _RELEASE + _LOOP)
RENEW = Script("renew", _HEAD + _RENEW + _LOOP)
