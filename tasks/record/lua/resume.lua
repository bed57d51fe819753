-- Resumes a project and counts that. The count stays when the project is not paused.
-- KEYS[1] pause  detachd:{p:hq}:gate
-- ARGV[1…] kinds  throttled (pauses that are ended; none: all, and it counts if there is no pause)
-- Returns 1 if it resumed or counted

local pause = KEYS[1]
local kinds = ARGV
if #kinds > 0 then
  local current, match = redis.call('HGET', pause, 'kind'), false
  for _, kind in ipairs(kinds) do match = match or current == kind end
  if not match then return 0 end
end
redis.call('HDEL', pause, 'kind', 'until', 'reason')
redis.call('HINCRBY', pause, 'resumed', 1)
return 1
