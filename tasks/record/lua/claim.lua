-- Claims desktops for a batch of calls, unless the project is paused.
-- KEYS[1] pause    detachd:{p:hq}:gate
-- KEYS[2] claims   detachd:{p:hq}:claims
-- KEYS[3] holders  detachd:{p:hq}:holders
-- ARGV[1]  holder    worker-1/d4k2m0h5tq3s7g8p9v30
-- ARGV[2]  lease     60000 (ms)
-- ARGV[3…] desktops  1v2k4x9p0q3za, see claimArgs
-- Returns {ms until the pause ends (-1: until it is resumed, 0: not paused), a string of
-- 1 (claimed) or 0 (claimed by another) per desktop, ms until the last lease of those
-- others ends}

local pause, claims, holders = KEYS[1], KEYS[2], KEYS[3]
local holder, lease = ARGV[1], tonumber(ARGV[2])
local desktops = {unpack(ARGV, 3)}

local now = clock_ms()
local paused = paused_for(pause, now)
if paused ~= 0 then return {paused, '', 0} end

local function claimed() -- per desktop 1 or 0, and whether any is
  local is, any = redis.call('SMISMEMBER', claims, unpack(desktops)), false
  for i = 1, #is do any = any or is[i] == 1 end
  return is, any
end

local function hold(list)
  redis.call('HSET', holders, holder, encode_holder(now + lease, list_of(list)))
end

local _, any = claimed()
if not any then
  redis.call('SADD', claims, unpack(desktops))
  hold(desktops)
  return {0, string.rep('1', #desktops), 0}
end

local wanted, mine, list, free = {}, {}, {}, 0
for _, desktop in ipairs(desktops) do wanted[desktop] = true end
local entries = redis.call('HGETALL', holders)
for i = 1, #entries, 2 do
  local other, until_ms, held = entries[i], decode_holder(entries[i+1])
  if other == holder then
    for desktop in each_in(held) do mine[desktop] = true; list[#list+1] = desktop end
  elseif until_ms <= now then
    for desktop in each_in(held) do redis.call('SREM', claims, desktop) end
    redis.call('HDEL', holders, other)
  else
    for desktop in each_in(held) do
      if wanted[desktop] then free = math.max(free, until_ms - now) end
    end
  end
end

local got, add = {}, {}
for i, is in ipairs(claimed()) do -- those with an expired lease are free now
  local desktop = desktops[i]
  if mine[desktop] then got[i] = '1'
  elseif is == 1 then got[i] = '0'
  else got[i] = '1'; add[#add+1] = desktop; list[#list+1] = desktop end
end
if #add > 0 then redis.call('SADD', claims, unpack(add)) end
if #list > 0 then hold(list) end
return {0, table.concat(got), free}
