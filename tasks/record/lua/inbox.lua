-- Changes a project's inbox; see inbox.go.
-- KEYS[1] inbox      detachd:{p:hq}:inbox
-- KEYS[2] announced  detachd:{p:hq}:announced
-- ARGV[1]  failures     detachd:{p:hq}:failures: (what the keys of its sorted sets begin with)
-- ARGV[2]  failures_by  detachd:{p:hq}:failures_by: (those by requester; see failures_by.go)
-- ARGV[3…] changes, each:
--   verb     confirm (see announce and the others in inbox.go)
--   desktop  desktop-7
--   entry    {"o":"d4k2m0h5tq3s7g8p9v20","s":"hr","u":["anna"],"k":"permanent","c":"WKS.1","t":1772366400000}
-- Returns a string of 1 (it changed something) or 0 per change

local inbox, announced = KEYS[1], KEYS[2]
local failures, failures_by = ARGV[1], ARGV[2]
local first_change, change_args = 3, 3

local desktops, seen, only_announced = {}, {}, true
for i = first_change, #ARGV, change_args do
  local verb, desktop = ARGV[i], ARGV[i+1]
  only_announced = only_announced and verb == 'announce'
  if not seen[desktop] then seen[desktop] = true; desktops[#desktops+1] = desktop end
end

-- The entries of the desktops in a hash: desktop -> {{line = as stored, e = decoded}, …}
local function read(key)
  local entries = {}
  for i, lines in ipairs(redis.call('HMGET', key, unpack(desktops))) do
    local list = {}
    for line in (lines or ''):gmatch('[^\n]+') do list[#list+1] = {line = line, e = cjson.decode(line)} end
    entries[desktops[i]] = list
  end
  return {key = key, entries = entries, changed = {}}
end
local pending = read(announced)
local listed = only_announced and {entries = {}, changed = {}} or read(inbox)

-- What becomes of the sorted sets: key -> member -> its score, or false (it is removed).
local scores = {}
local function score(key, member, at)
  scores[key] = scores[key] or {}
  scores[key][member] = at
end

-- Adds an entry of the inbox to the sets of its class and code, or removes it.
local function list(e, desktop, is_listed)
  local group, member, at = (e.k or '') .. '|' .. (e.c or ''), e.o .. '/' .. desktop, string.format('%016.0f', e.t)
  score(failures .. group, member, is_listed and at)
  score(failures_by .. group, (e.s or '') .. '\0' .. at .. '/' .. member, is_listed and '0')
end

local function remove(from, desktop, match)
  local rest, gone = {}, 0
  for _, x in ipairs(from.entries[desktop]) do
    if match(x.e) then
      gone = gone + 1
      if from == listed then list(x.e, desktop, false) end
    else rest[#rest+1] = x end
  end
  if gone > 0 then from.entries[desktop] = rest; from.changed[desktop] = true end
  return gone
end

local function add(to, desktop, line, e)
  table.insert(to.entries[desktop], {line = line, e = e})
  to.changed[desktop] = true
end

local function same(a, b)
  a, b = a or {}, b or {}
  if #a ~= #b then return false end
  for i = 1, #a do if a[i] ~= b[i] then return false end end
  return true
end

local function alike(a, b) return same(a.u, b.u) and (a.b or false) == (b.b or false) end

local function this(e) -- matches the entry of that operation and, if e has one, that time
  return function(x) return x.o == e.o and (not e.t or x.t == e.t) end
end

-- Each gives how many entries it changed.
local verbs = {}

function verbs.announce(desktop, line, e)
  remove(pending, desktop, this(e))
  add(pending, desktop, line, e)
  return 1
end

function verbs.confirm(desktop, line, e)
  local n, newer = remove(pending, desktop, this(e)), false
  for _, x in ipairs(listed.entries[desktop]) do
    if alike(x.e, e) and x.e.t > e.t then newer = true end
  end
  if n > 0 and not newer then
    remove(listed, desktop, function(x) return x.o == e.o or alike(x, e) end)
    add(listed, desktop, line, e)
    list(e, desktop, true)
  end
  return n
end

function verbs.drop(desktop, _, e) return remove(pending, desktop, this(e)) end

function verbs.leave(desktop, _, e)
  return remove(listed, desktop, this(e)) + remove(pending, desktop, this(e))
end

function verbs.proven(desktop, _, e)
  local of = {}
  for _, user in ipairs(e.u or {}) do of[user] = true end
  local function covered(x)
    if x.o == e.o then return true end -- the very row that ended well
    if x.b or e.t and x.t > e.t then return false end -- b: it is about giving the desktop back
    if e.all then return true end
    if not x.u or #x.u == 0 then return false end -- it is about every user, and one may still be assigned
    for _, user in ipairs(x.u) do if not of[user] then return false end end
    return true
  end
  return remove(listed, desktop, covered) + remove(pending, desktop, covered)
end

local done = {}
for i = first_change, #ARGV, change_args do
  local verb, desktop, line = unpack(ARGV, i, i + change_args - 1)
  done[#done+1] = verbs[verb](desktop, line, cjson.decode(line)) > 0 and '1' or '0'
end

local function write(command, key, args)
  if #args > 0 then redis.call(command, key, unpack(args)) end
end

for _, x in ipairs({listed, pending}) do
  local set, del = {}, {}
  for desktop in pairs(x.changed) do
    local lines = {}
    for i, entry in ipairs(x.entries[desktop]) do lines[i] = entry.line end
    if #lines == 0 then del[#del+1] = desktop
    else
      set[#set+1] = desktop
      set[#set+1] = table.concat(lines, '\n')
    end
  end
  write('HSET', x.key, set)
  write('HDEL', x.key, del)
end
for key, members in pairs(scores) do
  local add, rem = {}, {}
  for member, at in pairs(members) do
    if at then
      add[#add+1] = at
      add[#add+1] = member
    else rem[#rem+1] = member end
  end
  write('ZADD', key, add)
  write('ZREM', key, rem)
end
return table.concat(done)
