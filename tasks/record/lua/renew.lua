-- Renews a lease, unless the project is paused. A lease that has ended is renewed as long
-- as no other holder has claimed the desktops since.
-- KEYS[1] pause    detachd:{p:hq}:gate
-- KEYS[2] holders  detachd:{p:hq}:holders
-- ARGV[1]  holder    worker-1/d4k2m0h5tq3s7g8p9v30
-- ARGV[2]  lease     60000 (ms)
-- ARGV[3]  number    100 (of the desktops)
-- ARGV[4]  list      1v2k4x9p0q3za, a line each: one argument, as mostly all are still held
-- Returns what claim returns; 0: no longer claimed

local pause, holders = KEYS[1], KEYS[2]
local holder, lease, number, list = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local now = clock_ms()
local paused = paused_for(pause, now)
if paused ~= 0 then return {paused, '', 0} end

local entry = redis.call('HGET', holders, holder)
if not entry then return {0, string.rep('0', number), 0} end
local _, held = decode_holder(entry)
redis.call('HSET', holders, holder, encode_holder(now + lease, held))
if held == list then return {0, string.rep('1', number), 0} end

local mine, got = {}, {}
for desktop in each_in(held) do mine[desktop] = true end
for desktop in each_in(list) do got[#got+1] = mine[desktop] and '1' or '0' end
return {0, table.concat(got), 0}
