-- Moves rows of a chunk by compare-and-set: some one by one, then, if wanted, all that
-- still share the common status. What it moved is entered in the trail.
--
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- KEYS[3] open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[4] calls      detachd:{d4k2m0h5tq3s7g8p9v20}:calls
-- KEYS[5] errors     detachd:{d4k2m0h5tq3s7g8p9v20}:errors
-- KEYS[6] unproven   detachd:{d4k2m0h5tq3s7g8p9v20}:unproven
-- KEYS[7] trail      detachd:{d4k2m0h5tq3s7g8p9v20}:t:0
-- KEYS[8] index_log  detachd:{d4k2m0h5tq3s7g8p9v20}:indexed
--
-- ARGV[1]  now           1772366400000 (ms)
-- ARGV[2]  number        0 (of the chunk)
-- ARGV[3]  call_id       d4k2m0h5tq3s7g8p9v30, or "" (there was no call)
-- ARGV[4]  call          {"id":"d4k2m0h5tq3s7g8p9v30",…}, or ""
-- ARGV[5]  common_was    Q;0;mm8kxc00;; (as read), or "" (no row to move shared it)
-- ARGV[6]  common_next   S;1;mm8kxc0g;d4k2m0h5tq3s7g8p9v30;, or "" (leave it)
-- ARGV[7]  sharers       99 (rows that must share the common status when it changes)
-- ARGV[8]  together_moves  ["QS||","0-98"],… (for the trail: the moves of those rows)
-- ARGV[9]  head          ,"by":"worker-1","call":"…" (for the trail: rest of the entry's head)
-- ARGV[10] log           two bytes a bucket, see logCalls (goes before the names), or ""
-- ARGV[11] rows          the rows to move one by one, a JSON array of
--   id       desktop-7
--   was      2r;S;1;mm8kxc00;; (its value as read)
--   next     2r;Q;1;mm8kxc0g;; (its new value)
--   failure  {"c":"WKS.1",…} (its new last refusal), "" (remove the old one), or absent (leave it)
--   tag      "SQ||WKS.1" (for the trail, JSON)
--
-- Returns {1 (moved) or 0 for each of rows in one string, 1 if the common status is now
-- common_next, 1 if the operation's last work is done}

local operation, chunk, open, calls = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local errors, unproven, trail, index_log = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local now, number, call_id, call = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local common_was, common_next, sharers = ARGV[5], ARGV[6], tonumber(ARGV[7])
local together_moves, head, log = ARGV[8], ARGV[9], ARGV[10]
local first_row, row_args = 11, 5
local rows = {}
for i = first_row, #ARGV, row_args do
  rows[#rows+1] = {id = ARGV[i], was = ARGV[i+1], next = ARGV[i+2], failure = ARGV[i+3], tag = ARGV[i+4]}
end

local function state_of(status) return status:sub(1, 1) end

local stored = redis.call('HGET', chunk, '') or ''
local count, common = stored:match('^(%d+)|(.*)$')
if not common then return {string.rep('0', #rows), 0, 0} end -- the operation is gone
count = tonumber(count)

-- What is to be written.
local chunk_fields, new_errors, old_errors = {}, {}, {}
local delta = {}             -- state -> rows more or less
local tags, positions = {}, {} -- tags in their order; tag -> positions
local moves = {}             -- of the trail's entry

local function set(fields, field, value)
  fields[#fields+1] = field
  fields[#fields+1] = value
end

local function count_move(from, to, n)
  if from == to then return end
  delta[from] = (delta[from] or 0) - n
  delta[to] = (delta[to] or 0) + n
end

local function note_failure(row)
  if row.failure == '-' then old_errors[#old_errors+1] = row.id
  elseif row.failure ~= '' then set(new_errors, row.id, row.failure) end
end

local function note_move(row, position)
  local list = positions[row.tag]
  if not list then
    list = {}
    tags[#tags+1], positions[row.tag] = row.tag, list
  end
  list[#list+1] = string.format('%d', tonumber(position, 36))
end

local function move_row(row, from)
  local position, to = row.next:match('^([^;]+);(.)')
  set(chunk_fields, row.id, row.next)
  count_move(from or state_of(common), to, 1)
  if not from then count = count - 1 end
  note_failure(row)
  note_move(row, position)
end

local function move_rows()
  local ids, done = {}, {}
  for i, row in ipairs(rows) do ids[i] = row.id end
  local values = #ids > 0 and redis.call('HMGET', chunk, unpack(ids))
  for i, row in ipairs(rows) do
    local from = row.was:match(';(.)')
    local as_read = values[i] == row.was and (from or common == common_was)
    if as_read then move_row(row, from) end
    -- It is "next" already if this very write is sent again because its reply was lost.
    done[i] = (as_read or values[i] == row.next) and '1' or '0'
  end
  for i, tag in ipairs(tags) do
    moves[i] = '[' .. tag .. ',"' .. table.concat(positions[tag], ',') .. '"]'
  end
  return table.concat(done)
end

local function move_together()
  if common_next == '' or count ~= sharers then return 0 end
  if common == common_was then
    count_move(state_of(common), state_of(common_next), count)
    common = common_next
    moves[#moves+1] = together_moves
  end
  return common == common_next and 1 or 0
end

local function write(command, key, args)
  if #args > 0 then redis.call(command, key, unpack(args)) end
end

local function write_trail()
  if #moves == 0 then return end
  redis.call('HDEL', operation, 'seal', 'sealing') -- they are about a shorter trail
  if log ~= '' then redis.call('APPEND', index_log, log) end
  redis.call('RPUSH', trail, '{"t":' .. now .. head .. ',"m":[' .. table.concat(moves, ',') .. ']}')
end

-- Adds to how many rows of the chunk have work left. less: there is less; began: there
-- was none before.
local function add_left(key, n)
  if n == 0 then return false, false end
  local left = redis.call('HINCRBY', key, number, n)
  if left <= 0 then redis.call('HDEL', key, number) end
  return n < 0, n > 0 and left == n
end

local bits = move_rows()
local together = move_together()

local value = count .. '|' .. common
if value ~= stored then set(chunk_fields, '', value) end
write('HSET', chunk, chunk_fields)
write('HSET', errors, new_errors)
write('HDEL', errors, old_errors)
if call_id ~= '' then redis.call('HSET', calls, call_id, call) end
write_trail()
for state, n in pairs(delta) do
  if n ~= 0 then redis.call('HINCRBY', operation, 'n' .. state, n) end
end

local less_open, open_began = add_left(open, (delta.Q or 0) + (delta.S or 0))
local less_unproven, unproven_began = add_left(unproven, delta.A or 0)
if (less_open or less_unproven) and redis.call('EXISTS', open, unproven) == 0 then
  redis.call('HSET', operation, 'ended', now)
  return {bits, together, 1}
end
if open_began or unproven_began then redis.call('HDEL', operation, 'ended') end
return {bits, together, 0}
