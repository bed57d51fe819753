-- A bucket of an index that is longer than this ends in spare entries, so that what is entered
-- need not write it anew. Their bytes are zero, but the last ten: how many entries are before the
-- spare ones, and how many there are with them. Earlier programs take them for entries of no text.
local long_bucket = 1024

-- A number in five bytes, which none of these needs more of.
local function five_bytes(n) return string.char(0, math.floor(n / 16777216), math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256) end

local function is_spare(entry) return entry:byte(9) == 0 and entry:sub(1, 20) == ('\0'):rep(20) end

-- How many entries are before the spare ones and with them, if the last entry has these counts. An
-- earlier program that removes entries leaves them too high. If this program then cuts the bucket by
-- them, a spare entry without counts may be the last.
local function used_of(last)
  if not is_spare(last) then return end
  local _, e, f, g, h, _, i, j, k, l = last:byte(21, 30)
  local used, all = ((e * 256 + f) * 256 + g) * 256 + h, ((i * 256 + j) * 256 + k) * 256 + l
  if all > 0 then return used, all end
end

local function spare_end(used, all) return ('\0'):rep(20) .. five_bytes(used) .. five_bytes(all) end

-- How many entries a bucket had when it was written with so many, spare ones among them.
local function written_of(all) return all - math.floor(all / 9) end

local function without_spare(stored, size)
  local used = used_of(stored:sub(-size))
  return used and stored:sub(1, used * size) or stored
end

local function with_spare(entries, size)
  if #entries <= long_bucket then return entries end
  local used = #entries / size
  local spare = math.floor(used / 8)
  return entries .. ('\0'):rep((spare - 1) * size) .. spare_end(used, used + spare)
end

