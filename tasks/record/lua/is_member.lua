-- Looks for a member of a sorted set.
-- KEYS[1] set  detachd:open
-- ARGV[1] member  d4k2m0h5tq3s7g8p9v20
-- Returns 1 or 0

local set, member = KEYS[1], ARGV[1]
return redis.call('ZSCORE', set, member) and 1 or 0
