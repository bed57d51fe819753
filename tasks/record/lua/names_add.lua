-- Adds texts to a list that is kept in order, in blocks of a few kilobytes; see names.go.
-- KEYS[1] starts  detachd:{p:hq}:names:2949:starts
-- KEYS[2] blocks  detachd:{p:hq}:names:2949
-- ARGV[1]  until_s  1769796000 (when the list expires, unless that is later by now)
-- ARGV[2]  limit    2048 (bytes of a block)
-- ARGV[3…] texts    uzoe.leaver, in order
-- Returns 1

local starts, blocks = KEYS[1], KEYS[2]
local until_s, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local texts = {unpack(ARGV, 3)}

local at, ends, block, common, grown -- the block at hand, the start of the next one, and what is common to its texts
local split = false

-- Writes a block: what is common to all texts from its start to its end, and the rest of each.
local function write(first, stop, all, from, to)
  local n = 0
  while stop and n < #first - 1 and first:byte(n + 1) == stop:byte(n + 1) do n = n + 1 end
  local lines = {first:sub(1, n)}
  for i = from, to do lines[#lines+1] = all[i]:sub(n + 1) end
  redis.call('HSET', blocks, first, table.concat(lines, '\n') .. '\n')
end

local function save()
  if not grown then return end
  if #block <= limit then redis.call('HSET', blocks, at, block) return end
  local all = {}
  for rest in block:sub(#common + 2):gmatch('[^\n]+') do all[#all+1] = common .. rest end
  table.sort(all)
  local size = math.ceil(#all / math.ceil(2 * #block / limit))
  for from = 1, #all, size do
    local to, first = math.min(from + size - 1, #all), at
    if from > 1 then
      first = all[from]
      redis.call('ZADD', starts, 0, first)
    end
    write(first, all[to+1] or ends, all, from, to)
  end
  split = true
end

for _, text in ipairs(texts) do
  if not at or (ends and text >= ends) then
    save()
    at = redis.call('ZREVRANGEBYLEX', starts, '[' .. text, '-', 'LIMIT', 0, 1)[1] or ''
    ends = redis.call('ZRANGEBYLEX', starts, '(' .. at, '+', 'LIMIT', 0, 1)[1]
    block, grown = redis.call('HGET', blocks, at) or '\n', false
    common = block:match('^[^\n]*')
  end
  local rest = text:sub(#common + 1)
  if not block:find('\n' .. rest .. '\n', 1, true) then block, grown = block .. rest .. '\n', true end
end
save()
local known = tonumber(redis.call('HGET', blocks, '\n') or 0) -- no text begins with a line break
if until_s > known then
  redis.call('HSET', blocks, '\n', until_s)
  redis.call('EXPIREAT', blocks, until_s)
end
if until_s > known or split then redis.call('EXPIREAT', starts, math.max(until_s, known)) end
return 1
