-- Reads what a worker has to know of the schedules each second, whatever their number.
-- KEYS[1] version  detachd:{schedules}:version
-- KEYS[2] paused   detachd:{schedules}:paused
-- KEYS[3] failing  detachd:{schedules}:failing
-- KEYS[4] asked    detachd:{schedules}:asked
-- ARGV none
-- Returns {ms, version, paused ones, failing ones, id and run of each that was asked for, …}

local version, paused, failing, asked = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local out = {clock_ms(), redis.call('GET', version) or '', redis.call('SCARD', paused), redis.call('SCARD', failing)}
for _, v in ipairs(redis.call('HGETALL', asked)) do out[#out + 1] = v end
return out
