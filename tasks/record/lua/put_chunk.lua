-- Writes a chunk of an operation that is not accepted yet.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- ARGV[1]  fingerprint  9f86d081884c7d659a2feaa0c55ad015 (of the request)
-- ARGV[2]  index        {"p":"hq",…}, see indexed
-- ARGV[3]  rows         9f86d081… (hash of all rows, if they do not follow from the request), or ""
-- ARGV[4…] fields  desktop-7, 2r, … (field, value)
-- Returns "ok", "accepted" (it is, nothing written), "other" (the operation belongs to
-- another request, nothing written) or "rows" (another try has other rows, nothing written)

local operation, chunk = KEYS[1], KEYS[2]
local fingerprint, index, rows = ARGV[1], ARGV[2], ARGV[3]
local fields = {unpack(ARGV, 4)}
local stored, meta, expired, stored_rows = unpack(redis.call('HMGET', operation, 'fp', 'meta', 'expired', 'rows'))
if expired then return redis.error_reply('ERR the operation is being removed, send it again later') end
if stored and stored ~= fingerprint then return 'other' end
if meta then return 'accepted' end
if stored and (stored_rows or '') ~= rows then return 'rows' end
if not stored then
  redis.call('HSET', operation, 'fp', fingerprint, 'index', index)
  if rows ~= '' then redis.call('HSET', operation, 'rows', rows) end
end
redis.call('DEL', chunk)
redis.call('HSET', chunk, unpack(fields))
return 'ok'
