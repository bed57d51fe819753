-- Moves desktops from a holder to one that never releases them, and claims those that
-- Redis has lost. Those that another holder has claimed stay with it.
-- KEYS[1] claims   detachd:{p:hq}:claims
-- KEYS[2] holders  detachd:{p:hq}:holders
-- ARGV[1]  holder    worker-1/d4k2m0h5tq3s7g8p9v30
-- ARGV[2]  other     worker-1/d4k2m0h5tq3s7g8p9v30/d4k2m0h5tq3s7g8p9v3g (it ends in the call)
-- ARGV[3]  lease     60000 (ms)
-- ARGV[4…] desktops  1v2k4x9p0q3za
-- Returns how many the other holds

local claims, holders = KEYS[1], KEYS[2]
local holder, other, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local desktops = {unpack(ARGV, 4)}

local until_ms, held = decode_holder(redis.call('HGET', holders, holder) or '0|')
local leave, mine, keep, list = {}, {}, {}, {}
for _, desktop in ipairs(desktops) do leave[desktop] = true end
for desktop in each_in(held) do
  mine[desktop] = true
  if not leave[desktop] then keep[#keep+1] = desktop end
end
for _, desktop in ipairs(desktops) do
  if mine[desktop] or redis.call('SADD', claims, desktop) == 1 then list[#list+1] = desktop end
end
if #keep == 0 then redis.call('HDEL', holders, holder)
else redis.call('HSET', holders, holder, encode_holder(until_ms, list_of(keep))) end
if #list > 0 then redis.call('HSET', holders, other, encode_holder(clock_ms() + lease, list_of(list))) end
return #list
