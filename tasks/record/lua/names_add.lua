-- Adds texts to a list that is kept in order, in blocks of a few kilobytes; see names.go.
-- KEYS[1] starts  detachd:{p:hq}:names:2949:starts
-- KEYS[2] blocks  detachd:{p:hq}:names:2949
-- ARGV[1]  until_s  1769796000 (when the list expires, unless that is later by now)
-- ARGV[2]  limit    2048 (bytes of a block)
-- ARGV[3…] texts    uzoe.leaver, in order, each once
-- Returns 1

local starts, blocks = KEYS[1], KEYS[2]
local until_s, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local texts = {unpack(ARGV, 3)}

local window = 16 -- starts that are read at once

-- The blocks that the texts belong to: {at = start, ends = start of the next one or nil, texts = {…}}
local touched = {}
do
  local at, ahead, i = nil, {}, 1 -- the start of the block at hand, and those of the next ones
  for _, text in ipairs(texts) do
    while at and ahead[i] and not less(text, ahead[i]) do at, i = ahead[i], i + 1 end
    if not at or not ahead[i] and #ahead == window then
      at = redis.call('ZREVRANGEBYLEX', starts, '[' .. text, '-', 'LIMIT', 0, 1)[1] or ''
      ahead, i = redis.call('ZRANGEBYLEX', starts, '(' .. at, '+', 'LIMIT', 0, window), 1
    end
    local last = touched[#touched]
    if not last or last.at ~= at then
      last = {at = at, ends = ahead[i], texts = {}}
      touched[#touched+1] = last
    end
    last.texts[#last.texts+1] = text
  end
end

local fields = {'\n'} -- when the list expires, as no text begins with a line break; and then the blocks
for i, x in ipairs(touched) do fields[i+1] = x.at end
local stored = redis.call('HMGET', blocks, unpack(fields))

local new_fields, new_starts = {}, {}
local function set(list, a, b)
  list[#list+1] = a
  list[#list+1] = b
end

-- Sets a block: what is common to all texts from its start to its end, and the rest of each.
local function set_block(first, stop, all, from, to)
  local n = 0
  while stop and n < #first - 1 and first:byte(n + 1) == stop:byte(n + 1) do n = n + 1 end
  local lines = {first:sub(1, n)}
  for i = from, to do lines[#lines+1] = all[i]:sub(n + 1) end
  set(new_fields, first, table.concat(lines, '\n') .. '\n')
end

-- The rests of a block's texts in order. They mostly are: they were when the block was written anew.
local function rests_of(block, common)
  local all, sorted = {}, true
  for rest in block:sub(#common + 2):gmatch('[^\n]+') do
    sorted = sorted and (#all == 0 or less(all[#all], rest))
    all[#all+1] = rest
  end
  if not sorted then table.sort(all, less) end
  return all
end

-- Writes a block anew as several, with more rests that are in order.
local function split(x, block, common, new, bytes)
  local old, all, next_old = rests_of(block, common), {}, 1
  local function add(rest) all[#all+1] = common .. rest end
  for _, rest in ipairs(new) do
    while old[next_old] and less(old[next_old], rest) do
      add(old[next_old])
      next_old = next_old + 1
    end
    add(rest)
  end
  for i = next_old, #old do add(old[i]) end
  local size = math.ceil(#all / math.ceil(2 * bytes / limit))
  for from = 1, #all, size do
    local to, first = math.min(from + size - 1, #all), x.at
    if from > 1 then
      first = all[from]
      set(new_starts, 0, first)
    end
    set_block(first, all[to+1] or x.ends, all, from, to)
  end
end

for i, x in ipairs(touched) do
  local was = stored[i+1] or '\n'
  local common, new, bytes = was:match('^[^\n]*'), {}, #was -- each text comes once
  for _, text in ipairs(x.texts) do
    local rest = text:sub(#common + 1)
    if not was:find('\n' .. rest .. '\n', 1, true) then
      new[#new+1] = rest
      bytes = bytes + #rest + 1
    end
  end
  if #new > 0 and bytes > limit then split(x, was, common, new, bytes)
  elseif #new > 0 then set(new_fields, x.at, was .. table.concat(new, '\n') .. '\n') end
end

local known = tonumber(stored[1] or 0)
if until_s > known then set(new_fields, '\n', until_s) end
if #new_fields > 0 then redis.call('HSET', blocks, unpack(new_fields)) end
if #new_starts > 0 then redis.call('ZADD', starts, unpack(new_starts)) end
if until_s > known then redis.call('EXPIREAT', blocks, until_s) end
if until_s > known or #new_starts > 0 then redis.call('EXPIREAT', starts, math.max(until_s, known)) end
return 1
