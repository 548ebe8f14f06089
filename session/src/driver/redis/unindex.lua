-- KEYS: the set of an owner. ARGV: now, then pairs: the session's name, indexed until.
-- Takes those out that have not been noted anew meanwhile.
for at = 2, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[at]) == ARGV[at + 1] then
    redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return 1
