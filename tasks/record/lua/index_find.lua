-- Reads the entries of hashes from an index.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39
-- ARGV[1]  size    30 (bytes of an entry)
-- ARGV[2…] hashes  per bucket its hashes, 8 bytes each: to read a bucket costs more than to search it
-- Returns per bucket the entries of its hashes

local size = tonumber(ARGV[1])
local hashes = {unpack(ARGV, 2)}

local out = {}
for k, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  stored = stored or ''
  local found = {}
  for i = 1, #hashes[k], 8 do
    local hash = hashes[k]:sub(i, i + 7)
    local at = find(stored, hash, 1)
    while at do
      local step = 1
      if at % size == 1 then found[#found+1] = stored:sub(at, at + size - 1); step = size end
      at = find(stored, hash, at + step)
    end
  end
  out[k] = table.concat(found)
end
return out
