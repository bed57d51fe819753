-- Notes that a plan, or a review of access, is asked for, and gives it to a reader unless
-- another has it.
-- KEYS[1] object  detachd:{pl:d4k2m0h5tq3s7g8p9v20}
-- ARGV[1] reader  d4k2m0h5tq3s7g8p9v30, or "" (none)
-- ARGV[2] lease   20000 (ms)
-- ARGV[3] kept    3600000 (ms from now)
-- Returns -1 if there is no such object, 1 if it was given, else 0

local object = KEYS[1]
local reader, lease, kept = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HGET', object, 'state')
if not state then return -1 end
redis.call('PEXPIRE', object, kept)
if state ~= 'reading' then return 0 end
local now = clock_ms()
redis.call('HSET', object, 'asked', string.format('%.0f', now))
if reader == '' or now < tonumber(redis.call('HGET', object, 'until') or 0) then return 0 end
redis.call('HSET', object, 'holder', reader, 'until', string.format('%.0f', now + lease))
return 1
