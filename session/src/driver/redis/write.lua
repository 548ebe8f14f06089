-- KEYS: the session; the set of its owner, unless it is in another slot.
-- ARGV: now, the version that is expected or '', the record, when it expires, without zeros in front; if it has an owner: index until, the owner,
-- the session's name in the set, '1' when the set has it already, until then.
-- Answers 1 when done, {the owner before, indexed until} when done and its set has to forget it, the record that is there when it is another one,
-- 0 when something else is there, nothing when nothing is, 3 when the set has to be told first.
local key, expected, value = KEYS[1], ARGV[2], ARGV[3]
local found = redis.pcall('GETRANGE', key, 0, HEAD - 1)
local version, ends, indexed = head(found)
if version and ends <= now then
  version = nil
elseif not version and (found ~= '' or redis.call('EXISTS', key) == 1) then
  return 0
end
-- The same write again: the answer to the first one was lost.
if version == string.sub(value, 5, 20) then return 1 end
if expected ~= (version or '') then return version and redis.call('GET', key) end

local owner, before = ARGV[6], nil
if version and indexed ~= NEVER then before = owner_of(redis.call('GET', key)) end
local done = 1
if before and before ~= owner then done = {before, plain(indexed)} end

local expires_at = string.sub(value, 22, 36)
if expires_at <= now then
  redis.call('DEL', key)
  return before and {before, plain(indexed)} or done
end
if owner then
  local limit = ARGV[5]
  if ARGV[8] ~= '1' then
    if before == owner and indexed >= expires_at then
      limit = indexed
    elseif KEYS[2] then
      limit = index(KEYS[2], ARGV[7], limit)
    else
      return 3
    end
  end
  value = string.sub(value, 1, 37) .. limit .. string.sub(value, HEAD)
end
redis.call('SET', key, value, 'PXAT', ARGV[4])
return done
