-- Where some bytes are in others, from a place on, or nil.
local function find(s, bytes, from) return from <= #s and s:find(bytes, from, true) or nil end

-- Removes the entries of operations from buckets of an index.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39
-- ARGV[1]  size        30 (bytes of an entry)
-- ARGV[2]  op_at       8 (where the operation stands in an entry)
-- ARGV[3…] operations  per bucket its operations, 12 bytes each
-- Returns 1

local size, op_at = tonumber(ARGV[1]), tonumber(ARGV[2])
local operations = {unpack(ARGV, 3)}

local function without(stored, op)
  local keep, from, at = {}, 1, find(stored, op, 1)
  while at do
    local step = 1
    if (at - 1) % size == op_at then
      keep[#keep+1] = stored:sub(from, at - op_at - 1)
      from = at - op_at + size
      step = size
    end
    at = find(stored, op, at + step)
  end
  if from == 1 then return stored end
  keep[#keep+1] = stored:sub(from)
  return table.concat(keep)
end

for k, bucket in ipairs(KEYS) do
  local stored, ops = redis.call('GET', bucket) or '', operations[k]
  local rest = stored
  for i = 1, #ops, 12 do rest = without(rest, ops:sub(i, i + 11)) end
  if rest == '' then redis.call('DEL', bucket)
  elseif #rest < #stored then redis.call('SET', bucket, rest) end
end
return 1
