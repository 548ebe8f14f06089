-- KEYS: the session. ARGV: now; to prolong it as well: the lifetime of all sessions, how long they last in any case or 0, the latest end there is.
-- Answers {0}: nothing, {1, value}, {2}: something that is no record, which is left alone, or {3, value}: prolonged.
local record, foreign = find(KEYS[1], now)
if foreign then return {2} end
if not record then return {0} end
-- Somebody has taken its end away, or brought it back without one.
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', record.expires_at))
end
if not ARGV[2] or not record.lifetime then return {1, record.value} end

-- As `Settings::moved_expiry` says: by its own lifetime if it has one, never beyond its deadline, and only if it is worth it.
local lifetime = record.lifetime > 0 and record.lifetime or tonumber(ARGV[2])
local expires_at = math.min(now + lifetime, tonumber(ARGV[4]))
local absolute = tonumber(ARGV[3])
if absolute > 0 and record.begun_at > 0 then
  expires_at = math.min(expires_at, record.begun_at + absolute)
end
local worth_it = math.abs(expires_at - record.expires_at) >= math.max(lifetime / 10, 1)
-- Where the set of the owner has to be told first, that is left to a touch.
local told = not record.owner or record.indexed >= expires_at
if not (worth_it and told and expires_at > now) then return {1, record.value} end
move(KEYS[1], expires_at, record.indexed)
return {3, redis.call('GET', KEYS[1])}
