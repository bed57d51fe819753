-- Keeps an operation that has ended for a while longer, because somebody is about to change it. A
-- removal that has read it does not begin then: it compares when it ended.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] low  1772366400000 (ms; it ended then, or later)
-- Returns 1, 0 if there is no such operation, or it is being removed

local operation = KEYS[1]
local low = ARGV[1]
local meta, ended, expired = unpack(redis.call('HMGET', operation, 'meta', 'ended', 'expired'))
if not meta or expired then return 0 end
if ended and tonumber(ended) < tonumber(low) then redis.call('HSET', operation, 'ended', low) end
return 1
