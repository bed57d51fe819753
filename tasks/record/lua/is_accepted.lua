-- Looks for an accepted operation.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV none
-- Returns 1 or 0

local operation = KEYS[1]
return redis.call('HEXISTS', operation, 'meta')
