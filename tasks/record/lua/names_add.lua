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

-- The first n starts after one.
local function starts_after(at, n) return redis.call('ZRANGEBYLEX', starts, '(' .. at, '+', 'LIMIT', 0, n) end

-- The blocks that the texts belong to: {at = start, texts = {…}}
local touched = {}
do
  local at, ahead, i = nil, {}, 1 -- the start of the block at hand, and those of the next ones
  local window = 0 -- how many of these are read at once: more if the texts are close to each other
  for _, text in ipairs(texts) do
    while ahead[i] and not less(text, ahead[i]) do at, i = ahead[i], i + 1 end
    if not ahead[i] and #ahead == window then
      local reached = at
      at = redis.call('ZREVRANGEBYLEX', starts, '[' .. text, '-', 'LIMIT', 0, 1)[1] or ''
      window = at == reached and math.min(4 * window + 1, 64) or 0
      ahead, i = window > 0 and starts_after(at, window) or {}, 1
    end
    local last = touched[#touched]
    if not last or last.at ~= at then
      last = {at = at, texts = {}}
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

-- Two lists in order as one, with something before each text.
local function merged(a, b, before)
  local all, i = {}, 1
  for _, text in ipairs(b) do
    while a[i] and less(a[i], text) do
      all[#all+1] = before .. a[i]
      i = i + 1
    end
    all[#all+1] = before .. text
  end
  for k = i, #a do all[#all+1] = before .. a[k] end
  return all
end

-- Writes a block anew as several, with more rests. The block begins in order, as it was written
-- anew itself; what was added to it since is not.
local function split(x, block, common, new, bytes)
  local head, tail = {}, {}
  for rest in block:sub(#common + 2):gmatch('[^\n]+') do
    local list = #tail == 0 and (#head == 0 or less(head[#head], rest)) and head or tail
    list[#list+1] = rest
  end
  for _, rest in ipairs(new) do tail[#tail+1] = rest end
  table.sort(tail, less)
  local all = merged(head, tail, common)
  local size = math.ceil(#all / math.ceil(2 * bytes / limit))
  for from = 1, #all, size do
    local to, first = math.min(from + size - 1, #all), x.at
    if from > 1 then
      first = all[from]
      set(new_starts, 0, first)
    end
    set_block(first, all[to+1] or starts_after(x.at, 1)[1], all, from, to)
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
