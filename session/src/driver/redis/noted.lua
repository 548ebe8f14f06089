-- KEYS: the set of an owner. ARGV: now.
-- Answers the sessions that may be live.
return redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE')
