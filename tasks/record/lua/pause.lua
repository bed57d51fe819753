-- Pauses a project, unless it is paused for a stronger reason or for longer.
-- KEYS[1] pause  detachd:{p:hq}:gate
-- ARGV[1] kind    throttled
-- ARGV[2] ms      30000 (from now), or 0 (until the project is resumed)
-- ARGV[3] reason  429 Too Many Requests
-- Returns 1 if it was written

local pause = KEYS[1]
local kind, ms, reason = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local rank = {throttled = 1, auth = 2, no_right = 2, not_api = 2, operator = 3}

local now = clock_ms()
local until_ms = ms > 0 and now + ms or 0
local current, current_until = unpack(redis.call('HMGET', pause, 'kind', 'until'))
if current and paused_for(pause, now) ~= 0 then
  if rank[current] > rank[kind] then return 0 end
  if current == kind and kind ~= 'operator' and tonumber(current_until) >= until_ms then return 0 end
end
redis.call('HSET', pause, 'kind', kind, 'until', string.format('%.0f', until_ms), 'reason', reason)
return 1
