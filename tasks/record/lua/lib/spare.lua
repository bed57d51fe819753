-- A bucket of an index that is longer than this ends in spare entries, so that what is entered
-- need not write it anew. Their bytes are zero, but the last ten: how many entries are before the
-- spare ones, and how many there are with them. Earlier programs take them for entries of no text.
local long_bucket = 1024

local function used_of(last, size)
  if #last ~= size or last:sub(1, size - 10) ~= string.rep('\0', size - 10) then return end
  return tonumber(last:sub(size - 9, size - 5)), tonumber(last:sub(size - 4))
end

local function spare_end(size, used, all) return string.rep('\0', size - 10) .. string.format('%05d%05d', used, all) end

local function without_spare(stored, size)
  local used = used_of(stored:sub(-size), size)
  return used and stored:sub(1, used * size) or stored
end

local function with_spare(entries, size)
  local used = #entries / size
  local spare = math.floor(used / 8)
  if #entries <= long_bucket or used + spare > 99999 then return entries end
  return entries .. string.rep('\0', (spare - 1) * size) .. spare_end(size, used, used + spare)
end

