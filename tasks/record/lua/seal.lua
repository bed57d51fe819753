-- Writes the head of a trail to which nothing was added since it was read.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] token  d4k2m0h5tq3s7g8p9v30 (written before the trail was read)
-- ARGV[2] head   9f86d081884c7d65… (SHA-256)
-- Returns 1 if it was written

local operation = KEYS[1]
local token, head = ARGV[1], ARGV[2]
if redis.call('HGET', operation, 'sealing') ~= token then return 0 end
redis.call('HDEL', operation, 'sealing')
redis.call('HSET', operation, 'seal', head)
return 1
