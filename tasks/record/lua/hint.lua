-- Adds to the message of a refusal that is still as it was read.
-- KEYS[1] errors  detachd:{d4k2m0h5tq3s7g8p9v20}:errors
-- ARGV[1] row   user:anna
-- ARGV[2] was   {"c":"NOT_FOUND","m":"there is no such user",…} (the failure as read)
-- ARGV[3] hint  the same with the hint in its message
-- Returns 1 if it was written

local errors = KEYS[1]
local row, was, hint = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', errors, row) ~= was then return 0 end
redis.call('HSET', errors, row, hint)
return 1
