-- KEYS: the set of an owner. ARGV: now.
-- Answers {1, sessions...}: those that may be live.
local sessions = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], '+inf', 'BYSCORE')
table.insert(sessions, 1, 1)
return sessions
