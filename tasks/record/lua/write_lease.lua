-- Writes what was read of a plan, or for a review of access, and renews the reader's lease.
-- KEYS[1] object  detachd:{pl:d4k2m0h5tq3s7g8p9v20}
-- ARGV[1]  reader  d4k2m0h5tq3s7g8p9v30
-- ARGV[2]  lease   20000 (ms)
-- ARGV[3]  kept    3600000 (ms from now)
-- ARGV[4…] fields  progress, {"read":100,…}, … (field, value)
-- Returns for how many ms it was not asked for; -1 if another reads it now, or it is gone

local object = KEYS[1]
local reader, lease, kept = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local fields = {unpack(ARGV, 4)}
if redis.call('HGET', object, 'holder') ~= reader then return -1 end
local now = clock_ms()
redis.call('HSET', object, 'until', string.format('%.0f', now + lease))
if #fields > 0 then redis.call('HSET', object, unpack(fields)) end
redis.call('PEXPIRE', object, kept)
return now - tonumber(redis.call('HGET', object, 'asked'))
