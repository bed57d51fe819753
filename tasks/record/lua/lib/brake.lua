-- The brake of an operation of many desktops, see brake.go; nil if it has none.
local function decode_brake(stored) return stored and cjson.decode(stored) or nil end

-- How the canary remembers a row.
local function brake_entry(chunk, id) return ' ' .. chunk .. ':' .. id .. ' ' end

-- Whether a row may be in a call; no entry: several together.
local function may_be_called(brake, entry)
  if brake.stopped ~= '' then return false end
  if brake.canary == 0 then return true end
  if not entry then return false end
  if brake.first:find(entry, 1, true) then return true end
  local _, spaces = brake.first:gsub(' ', '')
  if spaces > brake.canary then return false end
  brake.first = brake.first .. entry:sub(2)
  return true
end

-- Counts n rows that moved; no entry: several together. failure: as stored.
local function count_in_brake(brake, entry, from, to, n, failure)
  local tried, failed = {S = true, A = true, D = true, F = true, H = true}, {F = true, H = true}
  if entry and (entry:find('^ %d+:user:') or entry:find('^ %d+:computer:')) then return end
  local code = failure:sub(1, 1) == '{' and cjson.decode(failure).c or ''
  local first, last
  if entry then first, last = brake.first:find(entry, 1, true) end
  local missing = code == 'NOT_FOUND' and (failed[from] or failed[to])
  if first and (missing or to == 'X') then -- another one takes its turn
    brake.first = brake.first:sub(1, first) .. brake.first:sub(last + 1)
  end
  if missing then -- it was not tried
    if tried[from] and not failed[from] then brake.tried = math.max(0, brake.tried - n) end
    return
  end
  if failed[to] and not failed[from] then brake.bad = brake.bad + n end
  if failed[from] and not failed[to] then brake.bad = math.max(0, brake.bad - n) end
  if not tried[from] and (to == 'S' or failed[to]) then brake.tried = brake.tried + n end
  if tried[from] and not tried[to] then brake.tried = math.max(0, brake.tried - n) end
  if first and to == 'D' then brake.proven = brake.proven + 1 end
  if first and failed[to] then brake.lost = 1 end
end

-- Says what became of the brake, before it is stored: 2 if it stops the operation, 1 if its canary
-- has just been confirmed, else 0. After the deadline it stops nothing: all that is left fails.
local function settle_brake(brake, deadline, now)
  local lost, confirmed = brake.lost and brake.canary > 0, brake.canary > 0 and brake.proven >= brake.canary
  brake.lost = nil
  local share = brake.percent * math.max(brake.tried, 100) / 100
  local much = brake.bad > brake.desktops or brake.bad > share
  if (lost or much) and brake.stopped == '' and now < tonumber(deadline) then
    brake.stopped = lost and 'canary' or 'stop_loss'
  end
  if confirmed then brake.canary = 0 end
  return brake.stopped ~= '' and 2 or confirmed and 1 or 0
end
