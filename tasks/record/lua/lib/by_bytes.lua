-- Six bytes of a text from a place on, as a number that sorts as they do; what is missing comes first.
local function six_bytes(s, i)
  local a, b, c, d, e, f = s:byte(i, i + 5)
  local n = (a or -1) + 1
  n = n * 257 + (b or -1) + 1
  n = n * 257 + (c or -1) + 1
  n = n * 257 + (d or -1) + 1
  n = n * 257 + (e or -1) + 1
  return n * 257 + (f or -1) + 1
end

-- Orders two texts by their bytes, as Redis sorts. What < and table.sort do depends on the
-- server's locale.
local function less(a, b)
  for i = 1, #b, 6 do
    local x, y = six_bytes(a, i), six_bytes(b, i)
    if x ~= y then return x < y end
  end
  return false
end

