-- What every script begins with. A record is one string, so that it is never there by halves:
--
--   ss1 <version> <expires at> <indexed until> <lifetime> <begun at><mark> <length of the owner, or -> <owner><payload>
--
-- Times are milliseconds since 1970. Those that are compared have 15 digits, here and among the arguments, so that they are compared as they stand. Until
-- "indexed until" the set of the owner has the session, so that a touch need not tell it every time; it is 0 where there is no owner. The lifetime
-- is the session's own, 0 where it has that of all, and - where a read prolongs nothing; when it began is 0 where that is not known.
--
-- The mark of the key, ten digits after the fifteen that say when the session began, is for who reads the record, not for scripts. Earlier releases wrote none, and no
-- zeros in front of when it began.

local NEVER = '000000000000000'
local HEAD = 53
local now = ARGV[1]

-- What a value begins with, if it is a record: version, expires at, indexed until. The value is what GET or GETRANGE answers to `pcall`.
local function head(value)
  if type(value) == 'table' then
    if string.find(value.err, 'WRONGTYPE', 1, true) then return nil end
    error(value)
  end
  return string.match(value, '^ss1 (%x+) (%d+) (%d+) ')
end

-- Whose a record is.
local function owner_of(value)
  local length, start = string.match(value, '^[%d-]+ %d+ (%d+) ()', HEAD + 1)
  return length and string.sub(value, start, start + length - 1)
end

-- A time as commands want it: they do not understand zeros in front.
local function plain(time)
  return string.format('%.0f', tonumber(time))
end

-- Moves the end of a record that is there.
local function move(key, expires_at, indexed)
  redis.call('SETRANGE', key, 21, expires_at .. ' ' .. indexed)
  redis.call('PEXPIREAT', key, plain(expires_at))
end

-- Notes in the set of an owner that a session is its until `limit` at the longest, and answers until when it noted. That is never what was noted before:
-- whoever still has to take that out must not take out this. What has run out goes, and the set with the last one.
local function index(set, session, limit)
  local noted = redis.call('ZSCORE', set, session)
  if noted and tonumber(noted) >= tonumber(limit) then limit = string.format('%015.0f', noted + 1) end
  redis.call('ZADD', set, limit, session)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
  local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')
  if last[2] then redis.call('PEXPIREAT', set, plain(last[2])) end
  return limit
end

