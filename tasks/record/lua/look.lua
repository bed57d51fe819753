-- Ends leases of followed chunks. If the score is not the lease, the chunk was entered or
-- taken since, and stays as it is.
-- KEYS[1] follow  detachd:{p:hq}:follow
-- ARGV[1…] looks, each:
--   member     d4k2m0h5tq3s7g8p9v20:0
--   lease      1772366460000 (its end in ms, as taken)
--   next_look  1772366520000 (ms), or 0 (none)
-- Returns 1

local follow = KEYS[1]
local look_args = 3
local members, over, again = {}, {}, {}
for i = 1, #ARGV, look_args do members[#members+1] = ARGV[i] end
for n, score in ipairs(redis.call('ZMSCORE', follow, unpack(members))) do
  local member, lease, next_look = unpack(ARGV, (n-1)*look_args + 1, n*look_args)
  if score and tonumber(score) == tonumber(lease) then
    if next_look == '0' then over[#over+1] = member
    else
      again[#again+1] = next_look
      again[#again+1] = member
    end
  end
end
if #over > 0 then redis.call('ZREM', follow, unpack(over)) end
if #again > 0 then redis.call('ZADD', follow, unpack(again)) end
return 1
