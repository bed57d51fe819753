-- Appends entries to the audit log, unless it ends with another entry than expected, and
-- removes those whose retention is over, but never the last.
-- KEYS[1] log  detachd:{audit}:log
-- ARGV[1] last   0000000000000041 5d41… (the member that is expected, without its score, or empty)
-- ARGV[2] low    1772366400000 (ms; earlier entries are removed)
-- ARGV[3…] entries  1772366400000, 0000000000000042 9f86… (ms, member)
-- Returns {} if they are there, also by an earlier call, else {member, ms} of the last entry

local log = KEYS[1]
local last, low = ARGV[1], ARGV[2]
local entries = {unpack(ARGV, 3)}
local there = redis.call('ZRANGE', log, -1, -1, 'WITHSCORES')
if #entries > 0 and not redis.call('ZSCORE', log, entries[#entries]) then
  if (there[1] or '') ~= last then return there end
  redis.call('ZADD', log, unpack(entries))
end
local old = math.min(redis.call('ZCOUNT', log, '-inf', '(' .. low), redis.call('ZCARD', log) - 1)
if old > 0 then redis.call('ZREMRANGEBYRANK', log, 0, old - 1) end
return {}
