-- Begins the removal of an operation, unless it was accepted or retried since it was read.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] accepted_was  1 (it was accepted), or 0
-- ARGV[2] ended_was     1772366400000 (ms), or ""
-- Returns 1 if it is hidden now

local operation = KEYS[1]
local accepted_was, ended_was = ARGV[1], ARGV[2]
local meta, ended, expired = unpack(redis.call('HMGET', operation, 'meta', 'ended', 'expired'))
if expired then return 1 end
if (meta and '1' or '0') ~= accepted_was or (ended or '') ~= ended_was then return 0 end
redis.call('HSET', operation, 'expired', 1)
return 1
