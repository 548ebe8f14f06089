-- KEYS: the session. ARGV: now, expires at, index until, whose set has it already: '-' or '+' and the owner.
-- Answers {0}: nothing there; {1}; {2, the owner, indexed until}: ended by this; {3, the owner}: its set has to be told first.
local expires_at, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local record = find(KEYS[1], now)
if not record then return {0} end
if expires_at <= now then
  redis.call('DEL', KEYS[1])
  return {2, record.owner, string.format('%.0f', record.indexed)}
end
local indexed = record.indexed
if record.owner and indexed < expires_at then
  if ARGV[4] ~= '+' .. record.owner then return {3, record.owner} end
  indexed = limit
end
move(KEYS[1], expires_at, indexed)
return {1}
