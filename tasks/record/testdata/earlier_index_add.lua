-- Where some bytes are in others, from a place on, or nil.
local function find(s, bytes, from) return from <= #s and s:find(bytes, from, true) or nil end

-- Enters what is not in buckets of an index yet. It writes a bucket anew, as APPEND leaves
-- up to half of it empty.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39
-- ARGV[1]  size     30 (bytes of an entry)
-- ARGV[2]  op_at    8 (where the operation stands in an entry)
-- ARGV[3…] entries  per bucket its new entries, see index.go
-- Returns 1

local size, op_at = tonumber(ARGV[1]), tonumber(ARGV[2])
local new_entries = {unpack(ARGV, 3)}

local function known(stored, entry)
  local at = find(stored, entry, 1)
  while at and at % size ~= 1 do at = find(stored, entry, at + 1) end
  return at
end

local write, buckets = {}, redis.call('MGET', unpack(KEYS))
for k, bucket in ipairs(KEYS) do
  local stored, add = buckets[k] or '', new_entries[k]
  local parts, has = {stored}, {} -- has: operations that have entries; most have none
  for i = 1, #add, size do
    local entry, op = add:sub(i, i + size - 1), add:sub(i + op_at, i + op_at + 11)
    if has[op] == nil then has[op] = find(stored, op, 1) and true or false end
    if not (has[op] and known(stored, entry)) then parts[#parts+1] = entry end
  end
  if #parts > 1 then
    write[#write+1] = bucket
    write[#write+1] = table.concat(parts)
  end
end
if #write > 0 then redis.call('MSET', unpack(write)) end
return 1
