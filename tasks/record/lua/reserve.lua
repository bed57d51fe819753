-- Reserves desktops in the window of a project, unless more than is allowed would then be in
-- it. A second reservation of an operation that is still in the window changes nothing.
-- KEYS[1] window    detachd:{p:hq}:window
-- KEYS[2] reserved  detachd:{p:hq}:reserved
-- ARGV[1] operation  d4k2m0h5tq3s7g8p9v20
-- ARGV[2] desktops   100
-- ARGV[3] source     hr
-- ARGV[4] allowed    2000, or -1 (a person approved it)
-- ARGV[5] length     86400000 (ms, of the window)
-- Returns {1 if it is in the window, desktops in the window before, of these those of the
-- source, 1 if it was in the window before}

local window, reserved = KEYS[1], KEYS[2]
local operation, desktops, source = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local allowed, length = tonumber(ARGV[4]), tonumber(ARGV[5])

local now = clock_ms()
local function count(field, n)
  if redis.call('HINCRBY', reserved, field, n) <= 0 then redis.call('HDEL', reserved, field) end
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', window, '-inf', now - length, 'LIMIT', 0, 1000)) do
  local n, by = (redis.call('HGET', reserved, 'op:' .. old) or '0 '):match('^(%d+) (.*)$')
  count('all', -n)
  count('by:' .. by, -n)
  redis.call('HDEL', reserved, 'op:' .. old)
  redis.call('ZREM', window, old)
end

local used, of_source = unpack(redis.call('HMGET', reserved, 'all', 'by:' .. source))
used, of_source = tonumber(used or 0), tonumber(of_source or 0)
if redis.call('ZSCORE', window, operation) then return {1, used, of_source, 1} end
if allowed >= 0 and used + desktops > allowed then return {0, used, of_source, 0} end
redis.call('ZADD', window, now, operation)
redis.call('HSET', reserved, 'op:' .. operation, string.format('%.0f %s', desktops, source))
count('all', desktops)
count('by:' .. source, desktops)
return {1, used, of_source, 0}
