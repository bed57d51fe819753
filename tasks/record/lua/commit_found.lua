-- Makes the desktops found rows of the operation, unless a row that was looked up has moved since: what
-- was cancelled then must not come back as its desktops.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[3…] trails    detachd:{d4k2m0h5tq3s7g8p9v20}:t:0 (of the chunks that are looked up)
-- ARGV[1]  token        d4k2m0h5tq3s7g8p9v30 (of the look-up)
-- ARGV[2]  found_was    100,3 (sizes of the chunks found before), or ""
-- ARGV[3]  found        100,3,12 (and with those that are added)
-- ARGV[4]  n            12 (rows that are added)
-- ARGV[5]  finds        {"user:anna":…} (what the rows that were looked up become)
-- ARGV[6]  first_chunk  1 (of those that are looked up)
-- ARGV[7]  last_chunk   1
-- ARGV[8]  entries      0,3 (of the trails, when the rows were read)
-- ARGV[9…] chunks  4, 12, … (number, size)
-- Returns 1 if it was done

local operation, open, trails = KEYS[1], KEYS[2], {unpack(KEYS, 3)}
local token, found_was, found, n, finds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local first_chunk, last_chunk = tonumber(ARGV[6]), tonumber(ARGV[7])
local entries, sizes = ARGV[8], {unpack(ARGV, 9)}

local current, stored = unpack(redis.call('HMGET', operation, 'token', 'found'))
if current ~= token or (stored or '') ~= found_was then return 0 end
local now = {}
for i, trail in ipairs(trails) do now[i] = string.format('%d', redis.call('LLEN', trail)) end
if table.concat(now, ',') ~= entries then return 0 end
redis.call('HDEL', operation, 'token')
for chunk = first_chunk, last_chunk do redis.call('HDEL', operation, 'find' .. chunk) end
redis.call('HSET', operation, 'users', finds)
if #sizes > 0 then
  redis.call('HSET', operation, 'found', found)
  redis.call('HINCRBY', operation, 'nQ', n)
  redis.call('HSET', open, unpack(sizes))
end
return 1
