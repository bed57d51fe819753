-- Reads the entries of hashes from an index.
-- KEYS[1…] buckets  detachd:desktops:{i:7}:39 (of each hash)
-- ARGV[1]  size    30 (bytes of an entry)
-- ARGV[2…] hashes  8 bytes each
-- Returns per hash its entries

local size = tonumber(ARGV[1])
local hashes = {unpack(ARGV, 2)}

local out = {}
for k, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  stored = stored or ''
  local hash = hashes[k]
  local found, at = {}, find(stored, hash, 1)
  while at do
    local step = 1
    if at % size == 1 then found[#found+1] = stored:sub(at, at + size - 1); step = size end
    at = find(stored, hash, at + step)
  end
  out[k] = table.concat(found)
end
return out
