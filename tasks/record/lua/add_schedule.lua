-- Adds a schedule, unless its name is in use or there are too many. It has no tick before now.
-- KEYS[1] defined  detachd:{schedules}:defined
-- KEYS[2] version  detachd:{schedules}:version
-- KEYS[3] state    detachd:{schedules}:state:nightly
-- ARGV[1] name      nightly
-- ARGV[2] schedule  {"name":"nightly",…}
-- ARGV[3] most      10000
-- Returns 1 (also if this very call has added it, and its reply was lost), 0 if the name is in use, -1 if there are too many

local defined, version, state = KEYS[1], KEYS[2], KEYS[3]
local name, schedule, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stored = redis.call('HGET', defined, name)
if stored then return stored == schedule and 1 or 0 end
if redis.call('HLEN', defined) >= most then return -1 end
redis.call('HSET', defined, name, schedule)
local now = string.format('%.0f', clock_ms())
redis.call('HSET', state, 'since', now, 'rev', now) -- a run of an earlier schedule of the name has another rev
redis.call('INCR', version)
return 1
