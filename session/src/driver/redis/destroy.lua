-- KEYS: the session. ARGV: now, whose it has to be: '-' for anybody's, or '+' and the owner.
-- Answers nothing when there was none, 1 when there was one, {the owner, indexed until} when it was somebody's. What is no record is left alone.
local key = KEYS[1]
local value = redis.pcall('GET', key)
if not value then return false end
local version, ends, indexed = head(value)
if not version then return false end
local live = ends > now
local owner = live and indexed ~= NEVER and owner_of(value)
if live and ARGV[2] ~= '-' and not (owner and ARGV[2] == '+' .. owner) then return false end
-- If it has expired, it need not wait for the server.
redis.call('DEL', key)
return owner and {owner, plain(indexed)} or live and 1
