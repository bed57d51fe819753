-- Writes or removes what a person decides about a schedule. What a paused one missed does not
-- run when it is resumed.
-- KEYS[1] defined  detachd:{schedules}:defined
-- KEYS[2] paused   detachd:{schedules}:paused
-- KEYS[3] failing  detachd:{schedules}:failing
-- KEYS[4] state    detachd:{schedules}:state:nightly
-- ARGV[1] name        nightly
-- ARGV[2] configured  1 if it is in the configuration, else 0
-- ARGV[3] field       paused, or skip
-- ARGV[4] value       {"by":"zoe",…}, or empty (it is removed)
-- Returns 1, 0 if there is nothing to remove, -1 if there is no such schedule

local defined, paused, failing, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, configured, field, value = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
if not configured and redis.call('HEXISTS', defined, name) == 0 then return -1 end
if value ~= '' then
  redis.call('HSET', state, field, value)
  if field == 'paused' then redis.call('SADD', paused, name) end
  return 1
end
if redis.call('HDEL', state, field) == 0 then return 0 end
if field == 'paused' then
  redis.call('SREM', paused, name)
  redis.call('SREM', failing, name)
  redis.call('HSET', state, 'since', string.format('%.0f', clock_ms()))
end
return 1
