-- Starts the next generation of a chunk.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] field  g0 (g and the number of the chunk)
-- ARGV[2] was    2 (the generation as read)
-- Returns the generation now, or -1 if another process was faster

local operation = KEYS[1]
local field, was = ARGV[1], tonumber(ARGV[2])
if tonumber(redis.call('HGET', operation, field) or '0') ~= was then return -1 end
return redis.call('HINCRBY', operation, field, 1)
