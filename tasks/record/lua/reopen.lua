-- Prepares an operation for a retry: a new deadline, unless it has a later one, and clearance anew.
-- One that waits for a person goes on waiting, and the brake goes on while work is left: a retry
-- releases nothing.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[3] unproven   detachd:{d4k2m0h5tq3s7g8p9v20}:unproven
-- ARGV[1] deadline  1772366400000 (ms)
-- Returns 1

local operation, open, unproven = KEYS[1], KEYS[2], KEYS[3]
local deadline = ARGV[1]
local before = tonumber(redis.call('HGET', operation, 'deadline') or 0)
if before < tonumber(deadline) then redis.call('HSET', operation, 'deadline', deadline) end
if redis.call('EXISTS', open, unproven) == 0 then
  redis.call('HDEL', operation, 'clearance', 'brake')
  return 1
end
local clearance, brake = unpack(redis.call('HMGET', operation, 'clearance', 'brake'))
brake = decode_brake(brake)
local waits = clearance and cjson.decode(clearance).state == 'waiting' or brake and brake.stopped ~= ''
if not waits then redis.call('HDEL', operation, 'clearance') end
return 1
