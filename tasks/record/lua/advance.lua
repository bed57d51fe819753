-- Notes that items of a redrive were looked at, unless another worker was faster.
-- KEYS[1] redrive  detachd:{rd:d4k2m0h5tq3s7g8p9v20}
-- KEYS[2] taken    detachd:{rd:d4k2m0h5tq3s7g8p9v20}:taken
-- ARGV[1]  seen     400 (looked at before)
-- ARGV[2]  more     200 (looked at now)
-- ARGV[3]  retried  198 (of those)
-- ARGV[4…] chunks   d4k2m0h5tq3s7g8p9v2g:0, 0-97,99, … (chunk, positions of what was retried in it)
-- Returns 1 if it was noted

local redrive, taken = KEYS[1], KEYS[2]
local seen, more, retried = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local first_chunk, chunk_args = 4, 2

if tonumber(redis.call('HGET', redrive, 'next') or 0) ~= seen then return 0 end
redis.call('HINCRBY', redrive, 'next', more)
redis.call('HINCRBY', redrive, 'retried', retried)
for i = first_chunk, #ARGV, chunk_args do
  local chunk, positions = ARGV[i], ARGV[i+1]
  local before = redis.call('HGET', taken, chunk)
  redis.call('HSET', taken, chunk, (before and before .. ',' or '') .. positions)
end
return 1
