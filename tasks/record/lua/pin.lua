-- Pins the rows of a chunk of an operation that waits to the users that a plan read.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- ARGV[1] clearance  {"state":"waiting",…} (as read)
-- ARGV[2] plan       9f86d081… (its hash)
-- ARGV[3] begin      1 (the first chunk: from now on only this plan pins), or 0
-- ARGV[4] field      "    "
-- ARGV[5] readings   AcYB… (packed)
-- Returns 1 if it was written

local operation, chunk = KEYS[1], KEYS[2]
local clearance, plan, begin, field, readings = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', operation, 'clearance') ~= clearance then return 0 end
if begin == '1' then
  redis.call('HSET', operation, 'pins', plan)
elseif redis.call('HGET', operation, 'pins') ~= plan then
  return 0
end
if redis.call('EXISTS', chunk) == 0 then return 0 end
redis.call('HSET', chunk, field, readings)
return 1
