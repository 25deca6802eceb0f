"""What a Redis server does in one step for us: Lua, of what Redis 6.2 and Valkey have.

A *bucket* is a namespace, or in a cluster a 64th of it, whose keys lie in one slot. Beside its values it has

- `g`: its generation, a string that every value begins with; who changes it has cleared the bucket;
- `i`: the index, a sorted set of keys. A score is the second of the last use, times 2^23, plus the size in units of 64 bytes: one
  number tells both, and the lowest is the least recently used;
- `a`: a hash with the sum of sizes, what marks (tags and owners) there are, and which of them each key has;
- `t:…`: for each mark the set of its keys; `x:…`, `y:…`, `old`: index and hash of generations that are to be swept.

The server may evict any of these. A bucket that lacks one of the first three has lost what it knew and begins anew, so nobody
ever reads what a `clear` should have removed.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = ["CHANGE", "CLEAR", "MARKED", "SCAN", "SWEEP", "TEND", "USE", "Script"]


class Script:
    """A script, and its name on the server. Its first arguments are the bucket's prefix and the time after which the server
    refuses it, by its own clock in milliseconds (0: never)."""

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join(parts).encode()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()


HEAD = """
local base, G, I, A, UNIT = ARGV[1], ARGV[1] .. 'g', ARGV[1] .. 'i', ARGV[1] .. 'a', 8388608
local time = redis.call('TIME')
if tonumber(ARGV[2]) > 0 and time[1] * 1000 + time[2] / 1000 >= tonumber(ARGV[2]) then
  return redis.error_reply('LATE the time for this command is over')
end
local second = math.max(0, time[1] - 1577836800)
local gen = redis.call('GET', G)

local function alive(value, now)
  local head = redis.pcall('GETRANGE', value, 0, 27)
  if type(head) == 'string' and #head == 28 and string.sub(head, 1, 12) == gen and struct.unpack('<I8', head, 21) > now then
    return string.sub(head, 13, 20)
  end
  return false
end

local function bury(name)
  redis.call('UNLINK', G)
  if redis.call('EXISTS', I) == 1 then redis.call('RENAME', I, base .. 'x:' .. name) end
  if redis.call('EXISTS', A) == 1 then redis.call('RENAME', A, base .. 'y:' .. name) end
  redis.call('SADD', base .. 'old', name)
end

if gen and (#gen ~= 12 or redis.call('EXISTS', I, A) < 2) then
  bury(gen)
  gen = false
end
"""

BOOKS = """
local marked = gen and redis.call('HLEN', A) > 3
local total = gen and tonumber(redis.call('HGET', A, 'sum')) or 0

local function unmark(key)
  local marks = marked and redis.call('HGET', A, 'k:' .. key)
  if marks then
    redis.call('HDEL', A, 'k:' .. key)
    for _, mark in ipairs(cmsgpack.unpack(marks)) do
      local set = base .. 't:' .. gen .. mark
      redis.call('SREM', set, key)
      if redis.call('EXISTS', set) == 0 then redis.call('HDEL', A, 'm:' .. mark) end
    end
  end
end

local function forget(key, score)
  redis.call('ZREM', I, key)
  unmark(key)
  total = total - tonumber(score) % UNIT
end

local function told()
  return gen and math.max(0, redis.call('ZCARD', I) - 1) or 0
end
"""

CHANGE = Script(
    HEAD,
    """
local now, capacity, fresh, count = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local stores = ARGV[7] == '1'
if not gen and stores then
  redis.call('SET', G, fresh)
  if redis.call('EXISTS', I, A) > 0 then
    bury(fresh)
    redis.call('SET', G, fresh)
  end
  gen = fresh
  redis.call('ZADD', I, -1, '\\255')
  redis.call('HSET', A, 'sum', 0, 'gen', gen, 'at', 0)
end
if not gen then return {0, 0, 0, string.rep('0', count)} end
""",
    BOOKS,
    """
local at, done, sum = 8, {}, total
for i = 1, count do
  local key, expect, stamp = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local value = base .. 'k:' .. key
  local there = (expect ~= '*' or stamp == '') and alive(value, now)
  if expect == '*' or (expect == '' and not there) or (expect == there) then
    if stamp == '' then
      redis.call('UNLINK', value)
    elseif ARGV[at + 4] == '0' then
      redis.call('SET', value, gen .. stamp .. ARGV[at + 3])
    else
      redis.call('SET', value, gen .. stamp .. ARGV[at + 3], 'PX', ARGV[at + 4])
    end
    local score = redis.call('ZSCORE', I, key)
    if stamp == '' then
      if score then forget(key, score) end
    else
      if score then total = total - tonumber(score) % UNIT end
      unmark(key)
      local units = tonumber(ARGV[at + 5])
      total = total + units
      redis.call('ZADD', I, (ARGV[at + 6] == '1' and 1073741823 or second) * UNIT + units, key)
      local marks = {}
      for m = 1, tonumber(ARGV[at + 7]) do
        marks[m] = ARGV[at + 7 + m]
        redis.call('SADD', base .. 't:' .. gen .. marks[m], key)
        redis.call('HSET', A, 'm:' .. marks[m], 1)
      end
      if #marks > 0 then
        redis.call('HSET', A, 'k:' .. key, cmsgpack.pack(marks))
        marked = true
      end
    end
    done[i] = there and '2' or '1'
  else
    done[i] = '0'
  end
  at = at + (stamp == '' and 3 or 8 + tonumber(ARGV[at + 7]))
end
local evicted = 0
while capacity > 0 and total > capacity and evicted < 2000 do
  local old = redis.call('ZRANGE', I, 1, 32, 'WITHSCORES')
  if #old == 0 then break end
  for j = 1, #old, 2 do
    if total <= capacity then break end
    redis.call('UNLINK', base .. 'k:' .. old[j])
    forget(old[j], old[j + 1])
    evicted = evicted + 1
  end
end
if total ~= sum then redis.call('HSET', A, 'sum', total) end
return {total, told(), evicted, table.concat(done)}
""",
)
"""Stores and deletes. Then come now, capacity (units; 0: none), a generation to begin with, how many, whether any is stored, and
for each its key, what it replaces (`*` whatever is there, empty: nothing, else a version) and its stamp (version and end; empty:
delete); for what is stored also record, milliseconds to live (0: for ever), units, whether it is pinned, and its marks after
their number.

Gives the sum of units, how many entries, how many were evicted, and for each key 0 (not done), 1 (nothing was there) or 2."""

USE = Script(
    HEAD,
    """
local at = 3
while gen and at < #ARGV do
  local value, version = base .. 'k:' .. ARGV[at], alive(base .. 'k:' .. ARGV[at], 0)
  if version == ARGV[at + 1] then
    redis.call('SETRANGE', value, 20, ARGV[at + 2])
    if ARGV[at + 3] ~= '0' then redis.call('PEXPIRE', value, ARGV[at + 3]) end
  end
  at = at + 4
end
return 1
""",
)
"""Puts times to idle off. Then come for each entry key, version, the new end and milliseconds to live."""

TEND = Script(
    HEAD,
    BOOKS,
    """
if not gen then return {0, 0, 0, 0} end
local sum = total
for i = 4, #ARGV do
  local score = redis.call('ZSCORE', I, ARGV[i])
  if score and tonumber(score) < second * UNIT then redis.call('ZADD', I, second * UNIT + tonumber(score) % UNIT, ARGV[i]) end
end
local page = redis.call('ZSCAN', I, redis.call('HGET', A, 'at') or '0', 'COUNT', ARGV[3])
local dead = 0
for i = 1, #page[2], 2 do
  local key, score = page[2][i], page[2][i + 1]
  if tonumber(score) >= 0 and not alive(base .. 'k:' .. key, 0) then
    forget(key, score)
    dead = dead + 1
  end
end
redis.call('HSET', A, 'at', page[1])
if total ~= sum then redis.call('HSET', A, 'sum', total) end
return {total, told(), dead, #page[2] / 2}
""",
)
"""A step of the sweeper: enters what was used, and takes what the server expired or evicted out of the index. Then come how many
places are looked at, and keys that were used. Gives units, entries, how many were gone, and how many it looked at."""

SCAN = Script(
    HEAD,
    """
if not gen then return {'0', {}} end
local page = redis.call('ZSCAN', I, ARGV[4], 'COUNT', ARGV[5])
local keys = {}
for i = 1, #page[2], 2 do
  if tonumber(page[2][i + 1]) >= 0 and alive(base .. 'k:' .. page[2][i], tonumber(ARGV[3])) then keys[#keys + 1] = page[2][i] end
end
return {page[1], keys}
""",
)
"""Some keys, by now, cursor and how many; and the cursor to go on with."""

CLEAR = Script(
    HEAD,
    """
if gen then bury(gen) end
return redis.call('SCARD', base .. 'old')
""",
)
"""Ends a generation: nothing of it can be read any more. Its values are left to the sweeper."""

SWEEP = Script(
    HEAD,
    """
local name = redis.call('SRANDMEMBER', base .. 'old')
if not name then return {0, 0} end
local removed, x, y = 0, base .. 'x:' .. name, base .. 'y:' .. name
local keys = redis.call('ZRANGE', x, 0, tonumber(ARGV[4]) - 1)
for _, key in ipairs(keys) do
  local head = redis.pcall('GETRANGE', base .. 'k:' .. key, 0, 27)
  if type(head) == 'string' and #head == 28 and string.sub(head, 1, 12) ~= gen then
    redis.call('UNLINK', base .. 'k:' .. key)
    if string.sub(head, 1, 12) == name and struct.unpack('<I8', head, 21) > tonumber(ARGV[3]) then removed = removed + 1 end
  end
end
if #keys > 0 then
  redis.call('ZREMRANGEBYRANK', x, 0, #keys - 1)
  return {removed, 1}
end
local was = redis.call('HGET', y, 'gen')
local page = redis.call('HSCAN', y, 0, 'COUNT', ARGV[4])
for i = 1, #page[2], 2 do
  if was and string.sub(page[2][i], 1, 2) == 'm:' then redis.call('UNLINK', base .. 't:' .. was .. string.sub(page[2][i], 3)) end
  if page[2][i] ~= 'gen' then redis.call('HDEL', y, page[2][i]) end
end
if redis.call('HLEN', y) <= 1 then
  redis.call('UNLINK', y)
  redis.call('SREM', base .. 'old', name)
end
return {removed, redis.call('EXISTS', base .. 'old')}
""",
)
"""Removes some of what generations left that were ended, by now and how many. Gives how many of them were there, and whether
there is more."""

MARKED = Script(
    HEAD,
    BOOKS,
    """
if not gen then return {0, 0, 0, 0} end
local removed, more, sum = 0, 0, total
for i = 5, #ARGV do
  local set = base .. 't:' .. gen .. ARGV[i]
  local known = marked and redis.call('HEXISTS', A, 'm:' .. ARGV[i]) == 1
  if known and redis.call('EXISTS', set) == 0 then
    bury(gen)
    return {0, 0, 0, 0}
  end
  if known then
    for _, key in ipairs(redis.call('SRANDMEMBER', set, ARGV[4])) do
      if alive(base .. 'k:' .. key, tonumber(ARGV[3])) then removed = removed + 1 end
      redis.call('UNLINK', base .. 'k:' .. key)
      local score = redis.call('ZSCORE', I, key)
      if score then forget(key, score) else unmark(key) end
      redis.call('SREM', set, key)
    end
    local left = redis.call('EXISTS', set)
    if left == 0 then redis.call('HDEL', A, 'm:' .. ARGV[i]) end
    more = math.max(more, left)
  end
end
if total ~= sum then redis.call('HSET', A, 'sum', total) end
return {total, told(), removed, more}
""",
)
"""Removes some of the entries that carry any of these marks, by now, how many at most a mark, and the marks. Gives units,
entries, how many were removed, and whether there are more."""
