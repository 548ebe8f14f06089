-- KEYS: the session. ARGV: now; to prolong it as well: the lifetime of all sessions, how long they last in any case or 0, the latest end there is,
-- and '1' where the set of the owner has to be told in any case.
-- Answers nothing, the record, {the record} when it has been prolonged, or 0: something that is no record, which is left alone.
local key = KEYS[1]
local value = redis.pcall('GET', key)
if not value then return false end
local version, expires_at, indexed = head(value)
if not version then return 0 end
if expires_at <= now then return false end
-- Somebody has taken its end away, or brought it back without one.
if redis.call('PTTL', key) == -1 then redis.call('PEXPIREAT', key, plain(expires_at)) end
if not ARGV[2] then return value end
local lifetime, begun_at, owner = string.match(value, '^([%d-]+) (%d+) ([%d-]+) ', HEAD + 1)
if lifetime == '-' then return value end

-- As `Settings::moved_expiry` says: by its own lifetime if it has one, never beyond its deadline, and only if it is worth it.
lifetime, begun_at = tonumber(lifetime), tonumber(string.sub(begun_at, 1, 15))
if lifetime == 0 then lifetime = tonumber(ARGV[2]) end
local moved = math.min(now + lifetime, tonumber(ARGV[4]))
local absolute = tonumber(ARGV[3])
if absolute > 0 and begun_at > 0 then moved = math.min(moved, begun_at + absolute) end
local worth_it = math.abs(moved - expires_at) >= math.max(lifetime / 10, 1)
moved = string.format('%015.0f', moved)
-- Where the set of the owner has to be told first, that is left to a touch.
local told = owner == '-' or indexed >= moved and ARGV[5] ~= '1'
if not (worth_it and told and moved > now) then return value end
move(key, moved, indexed)
return {redis.call('GET', key)}
