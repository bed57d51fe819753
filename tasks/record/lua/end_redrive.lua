-- Ends a redrive unless it has ended.
-- KEYS[1] redrive  detachd:{rd:d4k2m0h5tq3s7g8p9v20}
-- KEYS[2] items    detachd:{rd:d4k2m0h5tq3s7g8p9v20}:i:d4k2m0h5tq3s7g8p9v30
-- KEYS[3] taken    detachd:{rd:d4k2m0h5tq3s7g8p9v20}:taken
-- ARGV[1] now   1772366400000 (ms)
-- ARGV[2] by    ann (aborts it), or "" (it is not aborted)
-- ARGV[3] kept  7776000000 (ms from now)
-- Returns 1 if it did

local redrive, items, taken = KEYS[1], KEYS[2], KEYS[3]
local now, by, kept = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HSETNX', redrive, 'ended', now) == 0 then return 0 end
if by ~= '' then redis.call('HSET', redrive, 'aborted', by) end
for _, key in ipairs({redrive, items, taken}) do redis.call('PEXPIRE', key, kept) end
return 1
