-- Enters configured schedules. What was missed by one that is new, or was not in the
-- configuration for a while, does not run.
-- KEYS[1] version     detachd:{schedules}:version
-- KEYS[2] configured  detachd:{schedules}:configured
-- KEYS[3…] states     detachd:{schedules}:state:nightly (in the order of names)
-- ARGV[1…] names      nightly
-- Returns 1

local version, configured, states = KEYS[1], KEYS[2], {unpack(KEYS, 3)}
local names = ARGV
local now = string.format('%.0f', clock_ms())
for i, name in ipairs(names) do
  local new = redis.call('SADD', configured, name) == 1
  if new or redis.call('HEXISTS', states[i], 'since') == 0 then redis.call('HSET', states[i], 'since', now) end
end
redis.call('SETNX', version, now)
return 1
