-- Reserves desktops in the window of a project, unless more than is allowed would then be in
-- it. An operation that is in the window already adds what it asked for since, and no more than
-- it has desktops.
-- KEYS[1] window    detachd:{p:hq}:window
-- KEYS[2] reserved  detachd:{p:hq}:reserved
-- ARGV[1] operation  d4k2m0h5tq3s7g8p9v20
-- ARGV[2] desktops   100 (that it asks for now)
-- ARGV[3] source     hr
-- ARGV[4] allowed    2000, or -1 (a person approved it)
-- ARGV[5] length     86400000 (ms, of the window)
-- ARGV[6] asked      140 (desktops that it has ever asked for; a retry of one counts again)
-- ARGV[7] most       120 (desktops that it has)
-- Returns {1 if what it asks for is in the window, 0 if not, -1 if it has to be asked again as much
-- had left the window; desktops in the window before; of these those of the source}

local window, reserved = KEYS[1], KEYS[2]
local operation, desktops, source = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local allowed, length, asked, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local at_once = 1000 -- operations that leave the window

local now = clock_ms()
local function count(field, n)
  if redis.call('HINCRBY', reserved, field, n) <= 0 then redis.call('HDEL', reserved, field) end
end
local function reserved_by(op)
  local n, by = (redis.call('HGET', reserved, 'op:' .. op) or '0 '):match('^(%d+) (.*)$')
  return tonumber(n), by
end
local left = redis.call('ZRANGEBYSCORE', window, '-inf', now - length, 'LIMIT', 0, at_once)
for _, old in ipairs(left) do
  local n, by = reserved_by(old)
  count('all', 0 - n) -- not -n: -0 is no integer for Redis
  count('by:' .. by, 0 - n)
  redis.call('HDEL', reserved, 'op:' .. old, 'asked:' .. old)
  redis.call('ZREM', window, old)
end
if #left == at_once then return {-1, 0, 0} end

local used, of_source = unpack(redis.call('HMGET', reserved, 'all', 'by:' .. source))
used, of_source = tonumber(used or 0), tonumber(of_source or 0)
local had, more = 0, desktops
if redis.call('ZSCORE', window, operation) then
  had = reserved_by(operation)
  redis.call('HSETNX', reserved, 'asked:' .. operation, asked) -- a worker of an earlier version has let it in
  local before = tonumber(redis.call('HGET', reserved, 'asked:' .. operation))
  more = math.min(had + asked - before, most) - had
  if more <= 0 then return {1, used, of_source} end
end
if allowed >= 0 and used + more > allowed then return {0, used, of_source} end
redis.call('ZADD', window, now, operation)
redis.call('HSET', reserved, 'op:' .. operation, string.format('%.0f %s', had + more, source), 'asked:' .. operation, asked)
count('all', more)
count('by:' .. source, more)
return {1, used, of_source}
