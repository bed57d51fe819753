-- Names an undo in the operation whose desktops it gives back.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- ARGV[1] undo  d4k2m0h5tq3s7g8p9v30
-- Returns 1 if the operation exists

local operation = KEYS[1]
local undo = ARGV[1]
local meta, undos, expired = unpack(redis.call('HMGET', operation, 'meta', 'undos', 'expired'))
if not meta or expired then return 0 end
if not undos then redis.call('HSET', operation, 'undos', undo)
elseif not undos:find(undo, 1, true) then redis.call('HSET', operation, 'undos', undos .. ',' .. undo) end
return 1
