-- Orders two texts by their bytes, as Redis sorts. What < and table.sort do depends on the
-- server's locale.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
