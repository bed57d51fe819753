-- Writes a chunk of desktops found, while the look-up that found them is the latest.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- ARGV[1]  token   d4k2m0h5tq3s7g8p9v30
-- ARGV[2…] fields  desktop-7, 2r, … (field, value)
-- Returns 1 if it was written

local operation, chunk = KEYS[1], KEYS[2]
local token, fields = ARGV[1], {unpack(ARGV, 2)}
if redis.call('HGET', operation, 'token') ~= token then return 0 end
redis.call('DEL', chunk)
redis.call('HSET', chunk, unpack(fields))
return 1
