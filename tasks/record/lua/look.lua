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
for i = 1, #ARGV, look_args do
  local member, lease, next_look = unpack(ARGV, i, i + look_args - 1)
  local score = redis.call('ZSCORE', follow, member)
  if score and tonumber(score) == tonumber(lease) then
    if next_look == '0' then redis.call('ZREM', follow, member)
    else redis.call('ZADD', follow, next_look, member) end
  end
end
return 1
