-- Writes a chunk of an operation that is not accepted yet.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- ARGV[1]  fingerprint  9f86d081884c7d659a2feaa0c55ad015 (of the request)
-- ARGV[2]  index        {"p":"hq",…}, see indexed
-- ARGV[3…] fields  desktop-7, 2r, … (field, value)
-- Returns "ok", "accepted" (it is, nothing written) or "other" (the operation belongs to
-- another request, nothing written)

local operation, chunk = KEYS[1], KEYS[2]
local fingerprint, index = ARGV[1], ARGV[2]
local fields = {unpack(ARGV, 3)}
local stored, meta, expired = unpack(redis.call('HMGET', operation, 'fp', 'meta', 'expired'))
if expired then return redis.error_reply('ERR the operation is being removed, send it again later') end
if stored and stored ~= fingerprint then return 'other' end
if meta then return 'accepted' end
if not stored then redis.call('HSET', operation, 'fp', fingerprint, 'index', index) end
redis.call('DEL', chunk)
redis.call('HSET', chunk, unpack(fields))
return 'ok'
