-- What every script begins with. A record is one string, so that it is never there by halves:
--
--   ss1 <version> <expires at> <indexed until> <lifetime> <begun at> <length of the owner, or -> <owner><payload>
--
-- Times are milliseconds since 1970. The first two have 15 digits and so a fixed place, where a touch overwrites them. Until "indexed until"
-- the set of the owner has the session, so that a touch need not tell it every time. The lifetime is the session's own, 0 where it has that of all,
-- and - where a read prolongs nothing; when it began is 0 where that is not known.

local PREFIX = 'ss1 %s %015.0f %015.0f '
local TIMES_AT = 21
local TIMES = '%015.0f %015.0f'

-- The record in a value; nil when the value is of another make.
local function parse(value)
  local version, expires_at, indexed, lifetime, begun_at, length, start =
    string.match(value, '^ss1 (%x+) (%d+) (%d+) ([%d-]+) (%d+) ([%d-]+) ()')
  if not version then return nil end
  local owner = length ~= '-' and string.sub(value, start, start + tonumber(length) - 1)
  return {
    value = value, version = version, owner = owner,
    expires_at = tonumber(expires_at), indexed = tonumber(indexed),
    lifetime = lifetime ~= '-' and tonumber(lifetime), begun_at = tonumber(begun_at),
  }
end

-- The live record under a key; nil and whether there is something else.
local function find(key, now)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    if string.find(value.err, 'WRONGTYPE', 1, true) then return nil, true end
    error(value)
  end
  if not value then return nil, false end
  local record = parse(value)
  if not record then return nil, true end
  if record.expires_at <= now then return nil, false end
  return record
end

-- Moves the end of a record that is there.
local function move(key, expires_at, indexed)
  redis.call('SETRANGE', key, TIMES_AT, string.format(TIMES, expires_at, indexed))
  redis.call('PEXPIREAT', key, string.format('%.0f', expires_at))
end

-- Notes in the set of an owner that a session is its until `limit` at the longest. What has run out goes, and the set with the last one.
local function index(set, session, limit, now)
  redis.call('ZADD', set, 'GT', limit, session)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
  local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')
  if last[2] then redis.call('PEXPIREAT', set, string.format('%.0f', last[2])) end
end

local now = tonumber(ARGV[1])
