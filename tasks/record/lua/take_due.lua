-- Takes followed chunks that are due, for as long as a lease.
-- KEYS[1] follow  detachd:{p:hq}:follow
-- ARGV[1] now       1772366400000 (ms)
-- ARGV[2] until_ms  1772366460000 (end of the lease)
-- ARGV[3] limit     20 (at most)
-- Returns their members

local follow = KEYS[1]
local now, until_ms, limit = ARGV[1], ARGV[2], ARGV[3]
local due = redis.call('ZRANGEBYSCORE', follow, '-inf', now, 'LIMIT', 0, limit)
local leases = {}
for _, member in ipairs(due) do
  leases[#leases+1] = until_ms
  leases[#leases+1] = member
end
if #due > 0 then redis.call('ZADD', follow, unpack(leases)) end
return due
