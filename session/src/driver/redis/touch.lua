-- KEYS: the session. ARGV: now, expires at, index until, whose set has it already: '-' where none was told now, '?' where one has to
-- be told in any case, or '+' and the owner.
-- Answers nothing when nothing is there, 1, {the owner, indexed until} when it has ended by this and was somebody's, {the owner} when its set has to be told first.
local key, expires_at = KEYS[1], ARGV[2]
local value = redis.pcall('GET', key)
local version, ends, indexed = nil, nil, nil
if value then version, ends, indexed = head(value) end
if not version or ends <= now then return false end
local owner = indexed ~= NEVER and owner_of(value)
if expires_at <= now then
  redis.call('DEL', key)
  return owner and {owner, plain(indexed)} or 1
end
if owner and ARGV[4] == '+' .. owner then
  indexed = ARGV[3]
elseif owner and (ARGV[4] == '?' or indexed < expires_at) then
  return {owner}
end
move(key, expires_at, indexed)
return 1
