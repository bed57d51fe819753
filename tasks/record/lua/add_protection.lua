-- Adds a protection, unless its name is in use or there are too many.
-- KEYS[1] protected  detachd:protected
-- ARGV[1] name        board
-- ARGV[2] protection  {"name":"board",…}
-- ARGV[3] most        1000
-- Returns 1 (also if this very call has added it, and its reply was lost), 0 if the name is in use, -1 if there are too many

local protected = KEYS[1]
local name, protection, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stored = redis.call('HGET', protected, name)
if stored then return stored == protection and 1 or 0 end
if redis.call('HLEN', protected) >= most then return -1 end
redis.call('HSET', protected, name, protection)
return 1
