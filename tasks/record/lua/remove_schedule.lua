-- Removes a schedule, and all that is known of it. A run that was asked for is not one of the next
-- schedule of the name.
-- KEYS[1] defined  detachd:{schedules}:defined
-- KEYS[2] version  detachd:{schedules}:version
-- KEYS[3] paused   detachd:{schedules}:paused
-- KEYS[4] failing  detachd:{schedules}:failing
-- KEYS[5] state    detachd:{schedules}:state:nightly
-- KEYS[6] lists    detachd:{schedules}:lists:nightly
-- KEYS[7] asked    detachd:{schedules}:asked
-- ARGV[1] name  nightly
-- Returns 1 if it existed

local defined, version, paused, failing = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local state, lists, asked = KEYS[5], KEYS[6], KEYS[7]
local name = ARGV[1]
if redis.call('HDEL', defined, name) == 0 then return 0 end
redis.call('SREM', paused, name)
redis.call('SREM', failing, name)
redis.call('DEL', state, lists)
for _, id in ipairs(redis.call('HKEYS', asked)) do
  if id:sub(1, #name + 1) == name .. '!' then redis.call('HDEL', asked, id) end
end
redis.call('INCR', version)
return 1
