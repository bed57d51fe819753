-- Asks for a run of a schedule. The same id asks once, until the run has ended.
-- KEYS[1] defined  detachd:{schedules}:defined
-- KEYS[2] asked    detachd:{schedules}:asked
-- ARGV[1] name        nightly
-- ARGV[2] configured  1 if it is in the configuration, else 0
-- ARGV[3] id          nightly!d4k2m0h5tq3s7g8p9v20
-- ARGV[4] run         {"schedule":"nightly",…}
-- ARGV[5] most        100
-- Returns 1, -1 if there is no such schedule, -2 if too many were asked for

local defined, asked = KEYS[1], KEYS[2]
local name, configured, id, run, most = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4], tonumber(ARGV[5])
if not configured and redis.call('HEXISTS', defined, name) == 0 then return -1 end
if redis.call('HLEN', asked) >= most and redis.call('HEXISTS', asked, id) == 0 then return -2 end
redis.call('HSETNX', asked, id, run)
return 1
