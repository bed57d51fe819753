-- Releases those of some desktops that the holder still holds.
-- KEYS[1] claims   detachd:{p:hq}:claims
-- KEYS[2] holders  detachd:{p:hq}:holders
-- ARGV[1]  holder    worker-1/d4k2m0h5tq3s7g8p9v30
-- ARGV[2…] desktops  1v2k4x9p0q3za
-- Returns how many

local claims, holders = KEYS[1], KEYS[2]
local holder, desktops = ARGV[1], {unpack(ARGV, 2)}

local entry = redis.call('HGET', holders, holder)
if not entry then return 0 end
local until_ms, held = decode_holder(entry)
if held == list_of(desktops) then
  redis.call('SREM', claims, unpack(desktops))
  redis.call('HDEL', holders, holder)
  return #desktops
end

local leave, keep, n = {}, {}, 0
for _, desktop in ipairs(desktops) do leave[desktop] = true end
for desktop in each_in(held) do
  if leave[desktop] then n = n + redis.call('SREM', claims, desktop)
  else keep[#keep+1] = desktop end
end
if #keep == 0 then redis.call('HDEL', holders, holder)
else redis.call('HSET', holders, holder, encode_holder(until_ms, list_of(keep))) end
return n
