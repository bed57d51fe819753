-- Keeps a recall, unless it is kept already or there are too many.
-- KEYS[1] recalls  detachd:recalls
-- ARGV[1] id      d4k2m0h5tq3s7g8p9v20
-- ARGV[2] recall  {"id":"d4k2m0h5tq3s7g8p9v20",…}
-- ARGV[3] most    10000
-- Returns the recall as kept; "": there are too many

local recalls = KEYS[1]
local id, recall, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local kept = redis.call('HGET', recalls, id)
if kept then return kept end
if redis.call('HLEN', recalls) > most then return '' end
redis.call('HSET', recalls, id, recall, '', id)
return recall
