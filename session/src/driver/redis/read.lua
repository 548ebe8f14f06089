-- KEYS: the session. ARGV: now.
-- Answers {0}: nothing, {1, value}, or {2}: something that is no record, which is left alone.
local record, foreign = find(KEYS[1], now)
if foreign then return {2} end
if not record then return {0} end
-- Somebody has taken its end away, or brought it back without one.
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', record.expires_at))
end
return {1, record.value}
