-- Enters what is not in buckets of an index yet. It writes a bucket anew, as APPEND leaves up to
-- half of it empty; but a few entries go into the spare ones of a long bucket, and are compared with
-- the others when no spare one is left.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39
-- ARGV[1]  size     30 (bytes of an entry)
-- ARGV[2…] entries  per bucket its new entries, see index.go
-- Returns 1

local buckets, size = KEYS, tonumber(ARGV[1])
local new_entries = {unpack(ARGV, 2)}

local function known(stored, entry)
  local at = find(stored, entry, 1)
  while at and at % size ~= 1 do at = find(stored, entry, at + 1) end
  return at
end

-- The bucket with new entries, or nil if it has them. Those that went into spare ones since it was
-- written are not compared yet.
local function with_new(stored, add)
  local used, all = used_of(stored:sub(-size))
  local late = ''
  if used then
    local written = written_of(all) * size
    late = stored:sub(written + 1, used * size)
    stored = stored:sub(1, written)
  end
  local parts, seen = {stored}, {}
  add = late .. add
  for i = 1, #add, size do
    local entry = add:sub(i, i + size - 1)
    -- The counts are too high if an earlier program has removed entries, so spare ones may be among them.
    local spare = i <= #late and is_spare(entry)
    if not (spare or seen[entry] or known(stored, entry)) then parts[#parts+1] = entry end
    seen[entry] = true
  end
  return #parts > 1 and with_spare(table.concat(parts), size) or nil
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
  elseif not fits_spare(bucket, add) then value = with_new(redis.call('GET', bucket) or '', add) end
  if value then
    write[#write+1] = bucket
    write[#write+1] = value
  end
end
if #write > 0 then redis.call('MSET', unpack(write)) end
return 1
