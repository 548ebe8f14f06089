-- KEYS: the set of an owner. ARGV: now, until when at the longest, the session's name.
-- Answers until when it is noted.
return index(KEYS[1], ARGV[3], ARGV[2])
