-- Where some bytes are in others, from a place on, or nil.
local function find(s, bytes, from) return from <= #s and s:find(bytes, from, true) or nil end

