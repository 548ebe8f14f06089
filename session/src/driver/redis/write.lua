-- KEYS: the session; the set of its owner, unless it is in another slot.
-- ARGV: now, the version that is expected or '', the new version, expires at, index until, length of the owner or '-', the owner,
-- the payload, the session's name in the set, '1' when the set has it already, its lifetime, when it began.
-- Answers {1, the owner before, indexed until} when done, the latter two only where they have changed; {0, value} when another record
-- is there, {0} when something else is; {2} when there is none; {3} when the set has to be told first.
local expected, version = ARGV[2], ARGV[3]
local expires_at, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local owner = ARGV[6] ~= '-' and ARGV[7]

local old, foreign = find(KEYS[1], now)
if foreign then return {0} end
-- The same write again: the answer to the first one was lost.
if old and old.version == version then return {1} end
if expected == '' and old then return {0, old.value} end
if expected ~= '' and not old then return {2} end
if expected ~= '' and old.version ~= expected then return {0, old.value} end

local done = {1}
if old and old.owner and old.owner ~= owner then
  done = {1, old.owner, string.format('%.0f', old.indexed)}
end

if expires_at <= now then
  redis.call('DEL', KEYS[1])
  if old and old.owner and not done[2] then
    done = {1, old.owner, string.format('%.0f', old.indexed)}
  end
  return done
end

if owner then
  if old and old.owner == owner and old.indexed >= expires_at then
    limit = old.indexed
  elseif KEYS[2] then
    index(KEYS[2], ARGV[9], limit, now)
  elseif ARGV[10] ~= '1' then
    return {3}
  end
else
  limit = 0
end
local head = string.format(PREFIX, version, expires_at, limit) .. ARGV[11] .. ' ' .. ARGV[12] .. ' ' .. ARGV[6] .. ' '
local value = head .. (owner or '') .. ARGV[8]
redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', expires_at))
return done
