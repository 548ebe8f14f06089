-- KEYS: the set of an owner. ARGV: now.
-- Answers the set's name, by which the answer is known to be about it, and the sessions that may be live.
local sessions = redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE')
table.insert(sessions, 1, KEYS[1])
return sessions
