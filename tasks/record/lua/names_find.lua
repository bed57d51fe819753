-- Reads the first texts that begin with a prefix, from lists that are kept in order.
-- KEYS[1…] lists, each:
--   starts  detachd:{p:hq}:names:2949:starts
--   blocks  detachd:{p:hq}:names:2949
-- ARGV[1] prefix  uzoe
-- ARGV[2] most    21
-- Returns up to so many texts of each list

local prefix, most = ARGV[1], tonumber(ARGV[2])
local first_list = 1

local function matches(block, found)
  if not block then return end
  local common = block:match('^[^\n]*')
  local rest = prefix:sub(#common + 1)
  if common:sub(1, #prefix) .. rest ~= prefix then return end
  local at = block:find('\n' .. rest, 1, true)
  while at and at < #block do
    local stop = block:find('\n', at + 1, true)
    found[#found+1] = common .. block:sub(at + 1, stop - 1)
    at = block:find('\n' .. rest, stop, true)
  end
end

local out = {}
for k = first_list, #KEYS, 2 do
  local starts, blocks = KEYS[k], KEYS[k+1]
  local found = {}
  matches(redis.call('HGET', blocks, redis.call('ZREVRANGEBYLEX', starts, '[' .. prefix, '-', 'LIMIT', 0, 1)[1] or ''), found)
  if #found < most then
    for _, at in ipairs(redis.call('ZRANGEBYLEX', starts, '(' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, most)) do
      matches(redis.call('HGET', blocks, at), found)
      if #found >= most then break end
    end
  end
  table.sort(found, less)
  for i = 1, math.min(most, #found) do out[#out+1] = found[i] end
end
return out
