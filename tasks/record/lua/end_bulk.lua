-- Ends a redrive or cancellation unless it has ended.
-- KEYS[1] bulk   detachd:{rd:d4k2m0h5tq3s7g8p9v20}
-- KEYS[2] items  detachd:{rd:d4k2m0h5tq3s7g8p9v20}:i:d4k2m0h5tq3s7g8p9v30
-- KEYS[3] taken  detachd:{rd:d4k2m0h5tq3s7g8p9v20}:taken
-- ARGV[1] now    1772366400000 (ms)
-- ARGV[2] by     ann (aborts it), or "" (it is not aborted)
-- ARGV[3] kept   7776000000 (ms from now)
-- ARGV[4] since  3 (operations that came while it ran)
-- Returns 1 if it did

local bulk, items, taken = KEYS[1], KEYS[2], KEYS[3]
local now, by, kept, since = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HSETNX', bulk, 'ended', now) == 0 then return 0 end
if by ~= '' then redis.call('HSET', bulk, 'aborted', by) end
if since ~= '0' then redis.call('HSET', bulk, 'since', since) end
for _, key in ipairs({bulk, items, taken}) do redis.call('PEXPIRE', key, kept) end
return 1
