-- Enters a worker's beat by Redis' clock.
-- KEYS[1] workers  detachd:workers
-- ARGV[1] worker  worker-1
-- Returns 1 if the worker is new

local workers, worker = KEYS[1], ARGV[1]
return redis.call('ZADD', workers, clock_ms(), worker)
