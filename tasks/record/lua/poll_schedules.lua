-- Reads what a worker has to know of the schedules all the time, whatever their number.
-- KEYS[1] version  detachd:{schedules}:version
-- KEYS[2] asked    detachd:{schedules}:asked
-- ARGV none
-- Returns {ms, version, id and JSON of each run that was asked for, …}

local version, asked = KEYS[1], KEYS[2]
local out = {clock_ms(), redis.call('GET', version) or ''}
for _, v in ipairs(redis.call('HGETALL', asked)) do out[#out + 1] = v end
return out
