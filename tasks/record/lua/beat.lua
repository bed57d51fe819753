-- Enters a worker's beat by Redis' clock.
-- KEYS[1] workers  detachd:workers
-- ARGV[1] worker  worker-1
-- Returns Redis' clock (ms)

local workers, worker = KEYS[1], ARGV[1]
local now = clock_ms()
redis.call('ZADD', workers, now, worker)
return now
