-- Makes an operation accepted.
-- KEYS[1]  operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2]  open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[3…] chunks     detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- ARGV[1]  meta      {"operation_id":"d4k2m0h5tq3s7g8p9v20",…}
-- ARGV[2]  deadline  1772452800000 (ms)
-- ARGV[3]  total     250 (rows)
-- ARGV[4…] chunks  0, 100, … (number, size)
-- Returns 1 if this call did it, 0 if it was accepted before, -1 if it was removed because
-- it took too long, -2 if a failover lost some of it

local operation, open, chunks = KEYS[1], KEYS[2], {unpack(KEYS, 3)}
local meta, deadline, total = ARGV[1], ARGV[2], ARGV[3]
local sizes = {unpack(ARGV, 4)}
local accepted, fingerprint, expired = unpack(redis.call('HMGET', operation, 'meta', 'fp', 'expired'))
if accepted then return 0 end
if expired or not fingerprint then return -1 end
if redis.call('EXISTS', unpack(chunks)) < #chunks then return -2 end
redis.call('HDEL', operation, 'index', 'rows') -- the meta says it
redis.call('HSET', operation, 'meta', meta, 'deadline', deadline, 'nQ', total)
redis.call('HSET', open, unpack(sizes))
return 1
