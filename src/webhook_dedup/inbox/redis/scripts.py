"""The verbs as Lua scripts.

``KEYS[1]`` is what every key of one inbox begins with, hash tag included. Below it lie::

    item:<id>      hash    the row
    due            zset    waiting ids by due time, microseconds of the server's clock
    received       zset    every id by the time of arrival, seconds
    dead           zset    dead ids by the time of arrival
    letters:<key>  set     dead ids of one event key

A row keeps the history as lines of JSON, so that nothing here takes JSON apart. ``spent`` names
the call that ended the last hold: until the item is taken again, its repetition answers yes and
changes nothing.
"""

from __future__ import annotations

from ...backends.redis.script import Script

__all__ = [
    "BEGIN",
    "BURY",
    "DEFER",
    "DONE",
    "FOREIGN",
    "HEAD",
    "NEXT_DUE",
    "PURGE",
    "PUT",
    "RENEW",
    "REQUEUE",
    "RETRY",
    "ROWS",
    "SHELVE",
    "TAKE",
    "YES",
]

YES = ord("+")
"""A verb's answer for an item of which it did, or found done, what was asked."""

FOREIGN = ord("?")
"""A verb's answer for a key that holds something this library did not write."""

HEAD = """\
local FOREIGN, NO, YES = '?', '-', '+'
local base = KEYS[1]
local due, dead, received = base .. 'due', base .. 'dead', base .. 'received'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function item(id) return base .. 'item:' .. id end
local function letters(key) return base .. 'letters:' .. key end

-- FOREIGN where a command found something that is no hash.
local function fault(answer)
  if type(answer) ~= 'table' or not answer.err then return nil end
  if string.find(answer.err, 'WRONGTYPE', 1, true) then return FOREIGN end
  error(answer.err)
end

-- Nil and a verb's answer where there is no row.
local function read(id)
  local row = redis.pcall('HMGET', item(id), 'key', 'token', 'spent', 'begun', 'attempts', 'dead',
    'cut_off')
  local no = fault(row)
  if no then return nil, no end
  if not row[1] and redis.call('HLEN', item(id)) == 0 then return nil, NO end
  local begun = row[4] and 1 or 0
  return {
    key = row[1] or '', token = row[2], spent = row[3], begun = begun,
    attempts = tonumber(row[5]) or 0, dead = row[6],
    cut_off = tonumber(row[7]) or begun, -- rows of former releases have no such field
  }
end
"""

# A server that is full refuses what may grow unless the script has written before. What is in
# the inbox must still be worked off, for nothing else makes room.
_THOUGH_FULL = """
redis.call('UNLINK', base)
"""

_HOLDS = """
local function held(id, token)
  local row, no = read(id)
  if row and (row.dead or row.token ~= token) then return nil, NO end
  return row, no
end

local function come_due(id, after)
  redis.call('ZADD', due, now + after, id)
end
"""

_ENDS = """
-- Ends the hold of a token, or of anybody where none is given.
local function spend(id, call, nonce, token)
  local row, no = read(id)
  if not row then return nil, no end
  local spent = call .. ' ' .. nonce
  if row.spent == spent then return nil, YES end
  if row.dead or (token and row.token ~= token) then return nil, NO end
  redis.call('HDEL', item(id), 'token', 'begun')
  redis.call('HSET', item(id), 'spent', spent, 'cut_off', row.cut_off - row.begun)
  return row
end

local function note(id, entry)
  local history = redis.call('HGET', item(id), 'history')
  redis.call('HSET', item(id), 'history', history and history .. '\\n' .. entry or entry)
end

local function lay(id, row)
  redis.call('HSET', item(id), 'dead', 1)
  redis.call('ZREM', due, id)
  redis.call('ZADD', dead, redis.call('ZSCORE', received, id) or now / 1000000, id)
  if row.key ~= '' then redis.call('SADD', letters(row.key), id) end
end
"""

_REMOVAL = """
local function raise_from_dead(id, row)
  redis.call('ZREM', dead, id)
  if row.key ~= '' then redis.call('SREM', letters(row.key), id) end
end

local function remove(id)
  local row, no = read(id)
  if no == FOREIGN then return FOREIGN end
  redis.call('ZREM', due, id)
  redis.call('ZREM', received, id)
  if not row then
    redis.call('ZREM', dead, id)
    return NO
  end
  if row.dead then raise_from_dead(id, row) end
  redis.call('UNLINK', item(id))
  return YES
end
"""

# ARGV: how many arguments each call has, then the arguments of all calls. Answers with one string,
# since that is the cheapest to read: a character for each call.
_LOOP = """
local width = tonumber(ARGV[1])
local answers = {}
for start = 2, #ARGV, width do
  answers[#answers + 1] = verb(unpack(ARGV, start, start + width - 1))
end
return table.concat(answers)
"""

# What befell an item before is '' for most: its attempts, those that never ended, whether it was
# deferred, its history.
_PUT = """
local function verb(id, received_at, lease, token, head, body, key, event_id, source, past)
  local size = redis.pcall('HLEN', item(id))
  local no = fault(size)
  if no then return no end
  if size > 0 then return redis.call('HEXISTS', item(id), 'body') == 1 and YES or FOREIGN end
  redis.call('ZADD', received, received_at, id)
  redis.call('ZADD', due, now + lease, id)
  redis.call('HSET', item(id), 'token', token, 'head', head, 'body', body, 'key', key,
    'event_id', event_id, 'source', source)
  if past == '' then return YES end
  local attempts, cut_off, deferred, history = string.match(past, '^(%d+) (%d+) (%d) (.*)$')
  redis.call('HSET', item(id), 'attempts', attempts, 'cut_off', cut_off)
  if deferred == '1' then redis.call('HSET', item(id), 'deferred', 1) end
  if history ~= '' then redis.call('HSET', item(id), 'history', history) end
  return YES
end
"""

_RENEW = """
local function verb(id, token, lease)
  local row, no = held(id, token)
  if not row then return no end
  come_due(id, lease)
  return YES
end
"""

_BEGIN = """
local function verb(id, token)
  local row, no = held(id, token)
  if not row then return no end
  local one = 1 - row.begun
  redis.call('HSET', item(id), 'attempts', row.attempts + one, 'cut_off', row.cut_off + one,
    'begun', 1)
  return YES
end
"""

_DONE = """
local function verb(id, key)
  if remove(id) == FOREIGN then return FOREIGN end
  if key == '' then return YES end
  local graves = redis.call('SMEMBERS', letters(key))
  for _, letter in ipairs(graves) do remove(letter) end
  if graves[1] then redis.call('UNLINK', letters(key)) end
  return YES
end
"""

_RETRY = """
local function verb(id, token, after, entry)
  local row, answer = spend(id, 'retry', token, token)
  if not row then return answer end
  note(id, entry)
  come_due(id, after)
  return YES
end
"""

_DEFER = """
local function verb(id, token, after)
  local row, no = held(id, token)
  if not row then return no end
  redis.call('HSET', item(id), 'attempts', row.attempts - row.begun,
    'cut_off', row.cut_off - row.begun, 'deferred', 1)
  redis.call('HDEL', item(id), 'begun')
  come_due(id, after)
  return YES
end
"""

_BURY = """
local function verb(id, token, entry)
  local row, answer = spend(id, 'bury', token, token)
  if not row then return answer end
  note(id, entry)
  lay(id, row)
  return YES
end
"""

_SHELVE = """
local function verb(id, nonce, entry)
  local row, answer = spend(id, 'shelve', nonce)
  if not row then return answer end
  note(id, entry)
  lay(id, row)
  return YES
end
"""

_REQUEUE = """
local function verb(id)
  local row, no = read(id)
  if not row then return no end
  if row.dead then raise_from_dead(id, row) end
  redis.call('HDEL', item(id), 'token', 'spent', 'attempts', 'cut_off', 'begun', 'deferred', 'dead')
  come_due(id, 0)
  return YES
end
"""

_PURGE = """
local function verb(id)
  return remove(id)
end
"""

_NEXT_DUE = """
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
return first[2] and string.format('%.0f', math.max(0, tonumber(first[2]) - now))
"""

_WHOLE = """
local function whole(id)
  local row = redis.call('HMGET', item(id), 'token', 'head', 'body', 'key', 'event_id', 'source',
    'attempts', 'deferred', 'history', 'dead', 'cut_off')
  table.insert(row, 1, id)
  row[#row + 1] = redis.call('ZSCORE', received, id)
  return row
end
"""

# ARGV: limit, lease, nonce of the tokens, bytes of bodies to hand over at once, how many due ids to
# pass by and how many to look at then, the sources that are wanted, none for all.
# Answers how many of these ids were dealt with, the rows, the ids that name foreign data, and how
# many are of other sources.
_TAKE = """
local limit, lease, nonce, room = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local first, number = tonumber(ARGV[5]), tonumber(ARGV[6])
local rows, foreign, dealt, passed = {}, {}, 0, 0
local wanted = {}
for i = 7, #ARGV do wanted[ARGV[i]] = true end

-- By rank, since to pass by many by a limit would be to walk along them.
local function due_ids()
  local last = math.min(first + number, redis.call('ZCOUNT', due, '-inf', now)) - 1
  return last < first and {} or redis.call('ZRANGE', due, first, last)
end

local function is_wanted(id)
  if not ARGV[7] then return true end
  local source = redis.call('HGET', item(id), 'source')
  return not source or wanted[source]
end

local function hand_over(id)
  redis.call('HSET', item(id), 'token', id .. '.' .. nonce)
  redis.call('HDEL', item(id), 'begun', 'spent')
  come_due(id, lease)
  rows[#rows + 1] = whole(id)
end

local function drop(id, no)
  redis.call('ZREM', due, id)
  redis.call('ZREM', received, id)
  if no == FOREIGN then foreign[#foreign + 1] = id end
end

for _, id in ipairs(due_ids()) do
  if #rows == limit then break end
  local row, no = read(id)
  if row and not is_wanted(id) then
    passed = passed + 1
  elseif row then
    room = room - redis.call('HSTRLEN', item(id), 'body')
    if room < 0 and #rows > 0 then break end
    hand_over(id)
  else
    drop(id, no)
  end
  dealt = dealt + 1
end
return {dealt, rows, foreign, passed}
"""

# ARGV: bytes of bodies to hand over at once, then ids. Answers rows, as many as there is room for,
# at least one; FOREIGN or NO in the place of a row that is none.
_ROWS = """
local room = tonumber(ARGV[1])
local rows = {}
for i = 2, #ARGV do
  local row, no = read(ARGV[i])
  if row then
    room = room - redis.call('HSTRLEN', item(ARGV[i]), 'body')
    if room < 0 and #rows > 0 then break end
  end
  rows[#rows + 1] = row and whole(ARGV[i]) or no
end
return rows
"""


def _verb(name: str, *parts: str) -> Script:
    return Script(name, "".join((HEAD, *parts, _LOOP)))


PUT = _verb("put", _PUT)
RENEW = _verb("renew", _THOUGH_FULL, _HOLDS, _RENEW)
BEGIN = _verb("begin", _THOUGH_FULL, _HOLDS, _BEGIN)
DONE = _verb("done", _REMOVAL, _DONE)
RETRY = _verb("retry", _THOUGH_FULL, _HOLDS, _ENDS, _RETRY)
DEFER = _verb("defer", _THOUGH_FULL, _HOLDS, _DEFER)
BURY = _verb("bury", _THOUGH_FULL, _ENDS, _BURY)
SHELVE = _verb("shelve", _THOUGH_FULL, _ENDS, _SHELVE)
REQUEUE = _verb("requeue", _THOUGH_FULL, _HOLDS, _REMOVAL, _REQUEUE)
PURGE = _verb("purge", _REMOVAL, _PURGE)
NEXT_DUE = Script("next_due", HEAD + _NEXT_DUE)
TAKE = Script("take", HEAD + _THOUGH_FULL + _HOLDS + _WHOLE + _TAKE)
ROWS = Script("rows", HEAD + _WHOLE + _ROWS)
