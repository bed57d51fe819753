-- Writes the clearance of an operation, unless it has changed since it was read, or the operation has ended. An approval
-- releases the brake: nothing waits for the canary any more, and the stop-loss counts from 0.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] was       {"state":"waiting",…} (as read), or "" (there was none)
-- ARGV[2] answer    {"state":"approved",…}
-- ARGV[3] deadline  1772366400000 (ms), or "" (leave it)
-- ARGV[4] plan      9f86d081… (the hash of the plan that its rows must be pinned by), or ""
-- ARGV[5] requeued  12 (rows that retries had queued again when a question was counted), or ""
-- Returns 1 if it was written, also by this very call, whose reply was lost

local operation = KEYS[1]
local was, answer, deadline, plan, requeued = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local clearance = redis.call('HGET', operation, 'clearance') or ''
if clearance == answer then return 1 end
if redis.call('HEXISTS', operation, 'meta') == 0 or redis.call('HEXISTS', operation, 'ended') == 1 then return 0 end
if clearance ~= was then return 0 end
if plan ~= '' and redis.call('HGET', operation, 'pins') ~= plan then return 0 end
if requeued ~= '' and (redis.call('HGET', operation, 'requeued') or '0') ~= requeued then return 0 end
redis.call('HSET', operation, 'clearance', answer)
if plan ~= '' then redis.call('HSET', operation, 'bound', 1) end
if deadline ~= '' then
  redis.call('HSET', operation, 'deadline', deadline)
  local brake = decode_brake(redis.call('HGET', operation, 'brake'))
  if brake and brake.stopped ~= '' then
    if brake.stopped == 'canary' then brake.canary = 0 end
    brake.stopped, brake.tried, brake.bad = '', 0, 0
    settle_brake(brake, deadline, 0)
    redis.call('HSET', operation, 'brake', cjson.encode(brake))
  end
end
return 1
