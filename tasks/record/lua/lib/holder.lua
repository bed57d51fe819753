-- What a holder holds: when its lease ends, in ms, and a list of the desktops, a line each.
local function encode_holder(until_ms, list) return string.format('%.0f|', until_ms) .. list end
local function decode_holder(entry)
  local until_ms, list = entry:match('^(%d+)|(.*)$')
  return tonumber(until_ms), list
end
local function list_of(desktops) return table.concat(desktops, '\n') end
local function each_in(list) return list:gmatch('[^\n]+') end

