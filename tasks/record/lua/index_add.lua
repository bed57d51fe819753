-- Enters what is not in buckets of an index yet. It writes a bucket anew, as APPEND leaves up to
-- half of it empty; but a few entries go into the spare ones of a long bucket, and are compared with
-- the others when no spare one is left.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39
-- ARGV[1]  size     30 (bytes of an entry)
-- ARGV[2]  op_at    8 (where the operation stands in an entry)
-- ARGV[3…] entries  per bucket its new entries, see index.go
-- Returns 1

local buckets, size, op_at = KEYS, tonumber(ARGV[1]), tonumber(ARGV[2])
local new_entries = {unpack(ARGV, 3)}

local function known(stored, entry)
  local at = find(stored, entry, 1)
  while at and at % size ~= 1 do at = find(stored, entry, at + 1) end
  return at
end

-- The bucket with new entries, or nil if it has them.
local function with_new(stored, add)
  stored = without_spare(stored, size)
  local parts, has = {stored}, {} -- has: operations that have entries; most have none
  for i = 1, #add, size do
    local entry, op = add:sub(i, i + size - 1), add:sub(i + op_at, i + op_at + 11)
    if has[op] == nil then has[op] = find(stored, op, 1) and true or false end
    if not (has[op] and known(stored, entry)) then parts[#parts+1] = entry end
  end
  return #parts > 1 and with_spare(table.concat(parts), size) or nil
end

local function each_once(entries)
  local parts, seen = {}, {}
  for i = 1, #entries, size do
    local entry = entries:sub(i, i + size - 1)
    -- Behind spare entries an earlier program may have added others.
    if not seen[entry] and not used_of(entry) then parts[#parts+1] = entry end
    seen[entry] = true
  end
  return with_spare(table.concat(parts), size)
end

local function spare_in(bucket) return used_of(redis.call('GETRANGE', bucket, -size, -1)) end

local function fits_spare(bucket, add)
  local used, all = spare_in(bucket)
  local n = #add / size
  if not used or used + n >= all then return false end
  redis.call('SETRANGE', bucket, used * size, add)
  redis.call('SETRANGE', bucket, (all - 1) * size, spare_end(used + n, all))
  return true
end

-- Whether they are long and get few entries. The first one tells, as all are about as long.
local long = (spare_in(buckets[1]) or 0) * size > 16 * #new_entries[1]
local stored, write = long and {} or redis.call('MGET', unpack(buckets)), {}
for k, bucket in ipairs(buckets) do
  local add, value = new_entries[k], nil
  if not long then value = with_new(stored[k] or '', add)
  elseif not fits_spare(bucket, add) then
    value = each_once(without_spare(redis.call('GET', bucket) or '', size) .. add)
  end
  if value then
    write[#write+1] = bucket
    write[#write+1] = value
  end
end
if #write > 0 then redis.call('MSET', unpack(write)) end
return 1
