-- For how many ms a project is paused: -1 until it is resumed, 0 if it is not paused.
local function paused_for(pause, now)
  local until_ms = tonumber(redis.call('HGET', pause, 'until') or now)
  if until_ms == 0 then return -1 end
  return math.max(0, until_ms - now)
end

