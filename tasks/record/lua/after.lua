-- Reads the entries of a sorted set that follow a place, the latest first. A bulk has
-- thousands within a millisecond, so the place is found by binary search.
-- KEYS[1] set  detachd:ops
-- ARGV[1] ms      1772366400000 (score of the place)
-- ARGV[2] member  d4k2m0h5tq3s7g8p9v20
-- ARGV[3] limit   100 (at most)
-- Returns {member, score, …}

local set = KEYS[1]
local ms, member, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])

local from = redis.call('ZCOUNT', set, '(' .. ms, '+inf')
local to = from + redis.call('ZCOUNT', set, ms, ms)
while from < to do
  local middle = math.floor((from + to) / 2)
  if less(redis.call('ZREVRANGE', set, middle, middle)[1], member) then to = middle else from = middle + 1 end
end
return redis.call('ZREVRANGE', set, from, from + limit - 1, 'WITHSCORES')
