-- Looks at an asynq queue. Its tasks leave the list at the end. Those that are scheduled,
-- or to be retried, wait once their second has passed: asynq moves them only while a
-- worker runs.
-- KEYS[1] pending    asynq:{detachd:hq:bulk}:pending
-- KEYS[2] scheduled  asynq:{detachd:hq:bulk}:scheduled
-- KEYS[3] retry      asynq:{detachd:hq:bulk}:retry
-- ARGV[1] task  asynq:{detachd:hq:bulk}:t: (what the key of a task begins with)
-- ARGV[2] now   1772366400 (s)
-- Returns {how many wait, since when the first does in ms ("0": unknown)}

local pending, scheduled, retry = KEYS[1], KEYS[2], KEYS[3]
local task, now = ARGV[1], ARGV[2]

local n, since = redis.call('LLEN', pending), 0
if n > 0 then
  local first = redis.call('LINDEX', pending, -1)
  since = math.floor(tonumber(redis.call('HGET', task .. first, 'pending_since') or '0') / 1e6)
end
for _, key in ipairs({scheduled, retry}) do
  local due = redis.call('ZCOUNT', key, '-inf', now)
  if due > 0 then
    n = n + due
    local first = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) * 1000
    if since == 0 or first < since then since = first end
  end
end
return {n, string.format('%.0f', since)}
