-- Begins a redrive or cancellation, unless another call has.
-- KEYS[1] bulk   detachd:{rd:d4k2m0h5tq3s7g8p9v20}
-- KEYS[2] items  detachd:{rd:d4k2m0h5tq3s7g8p9v20}:i:d4k2m0h5tq3s7g8p9v30
-- ARGV[1] fingerprint  9f86d081884c7d659a2feaa0c55ad015 (of the request)
-- ARGV[2] meta         {"id":"d4k2m0h5tq3s7g8p9v20",…}
-- Returns 1

local bulk, items = KEYS[1], KEYS[2]
local fingerprint, meta = ARGV[1], ARGV[2]
if redis.call('EXISTS', bulk) == 0 then
  redis.call('HSET', bulk, 'fp', fingerprint, 'meta', meta, 'items', items)
  redis.call('PERSIST', items)
end
return 1
