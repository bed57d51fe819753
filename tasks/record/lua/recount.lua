-- Sets the counts of an operation that are still as they were read.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[3] unproven   detachd:{d4k2m0h5tq3s7g8p9v20}:unproven
-- ARGV[1]  now            1772366400000 (ms)
-- ARGV[2]  was            100;0;3;147;0;0;0;0;0;0=60,2=40;1=3 (as read, see countsText)
-- ARGV[3]  open_args      4 (how many of the fields and values are of open)
-- ARGV[4]  unproven_args  2 (and how many, after those, of unproven; the rest is of the operation)
-- ARGV[5…] fields         0, 61, … (field, value)
-- Returns 1 if it did

local operation, open, unproven = KEYS[1], KEYS[2], KEYS[3]
local now, was, open_args, unproven_args = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local first_open = 5
local counts = {'nQ', 'nS', 'nA', 'nD', 'nF', 'nH', 'nX', 'nR', 'nN'}

local function hash_text(key)
  local all, list = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do list[#list+1] = all[i] .. '=' .. all[i+1] end
  table.sort(list, less)
  return table.concat(list, ',')
end

local text = {}
for i, n in ipairs(redis.call('HMGET', operation, unpack(counts))) do text[i] = tonumber(n or '0') .. '' end
text[#text+1] = hash_text(open)
text[#text+1] = hash_text(unproven)
if table.concat(text, ';') ~= was then return 0 end

local function replace(key, first, after)
  redis.call('DEL', key)
  for i = first, after - 1, 2 do redis.call('HSET', key, ARGV[i], ARGV[i+1]) end
end
local first_unproven = first_open + open_args
local first_count = first_unproven + unproven_args
replace(open, first_open, first_unproven)
replace(unproven, first_unproven, first_count)
redis.call('HSET', operation, unpack(ARGV, first_count))
if first_count > first_open then redis.call('HDEL', operation, 'ended', 'seal', 'sealing')
elseif redis.call('HEXISTS', operation, 'ended') == 0 then redis.call('HSET', operation, 'ended', now) end
return 1
