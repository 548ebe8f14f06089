-- KEYS: the session. ARGV: now, whose it has to be: '-' for anybody's, or '+' and the owner.
-- Answers {0} when there was none, {1, the owner, indexed until} when there was. What is no record is left alone.
local record, foreign = find(KEYS[1], now)
if foreign then return {0} end
if not record then
  -- If it has expired, it need not wait for the server.
  redis.call('DEL', KEYS[1])
  return {0}
end
if ARGV[2] ~= '-' and not (record.owner and ARGV[2] == '+' .. record.owner) then return {0} end
redis.call('DEL', KEYS[1])
return {1, record.owner, string.format('%.0f', record.indexed)}
