-- Redis' clock, which is one for all processes, in ms.
local function clock_ms()
  local t = redis.call('TIME')
  return t[1]*1000 + math.floor(t[2]/1000)
end

