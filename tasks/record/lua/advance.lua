-- Notes that items of a redrive or cancellation were looked at, unless another worker was faster.
-- KEYS[1] bulk   detachd:{rd:d4k2m0h5tq3s7g8p9v20}
-- KEYS[2] taken  detachd:{rd:d4k2m0h5tq3s7g8p9v20}:taken
-- KEYS[3] items  detachd:{rd:d4k2m0h5tq3s7g8p9v20}:i:d4k2m0h5tq3s7g8p9v30
-- ARGV[1]  seen    400 (looked at before)
-- ARGV[2]  more    200 (looked at now)
-- ARGV[3]  done    198 (desktops that were retried or cancelled)
-- ARGV[4]  late    0 (desktops that were too late to be cancelled)
-- ARGV[5]  again   0 (number of the next arguments: items that are to be looked at again)
-- ARGV[6…] values  d4k2m0h5tq3s7g8p9v2g:0, 0-97,99, … (those items; then chunk, positions of what was taken in it)
-- Returns 1 if it was noted

local bulk, taken, items = KEYS[1], KEYS[2], KEYS[3]
local seen, more, done, late, again = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local first_value, chunk_args = 6, 2
local first_chunk = first_value + again

if tonumber(redis.call('HGET', bulk, 'next') or 0) ~= seen then return 0 end
redis.call('HINCRBY', bulk, 'next', more)
redis.call('HINCRBY', bulk, 'retried', done)
if late ~= '0' then redis.call('HINCRBY', bulk, 'late', late) end
if again > 0 then redis.call('HINCRBY', bulk, 'again', again) end
for i = first_value, first_chunk - 1 do redis.call('RPUSH', items, ARGV[i]) end
for i = first_chunk, #ARGV, chunk_args do
  local chunk, positions = ARGV[i], ARGV[i+1]
  local before = redis.call('HGET', taken, chunk)
  redis.call('HSET', taken, chunk, (before and before .. ',' or '') .. positions)
end
return 1
