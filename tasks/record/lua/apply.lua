-- Moves rows of a chunk by compare-and-set: some one by one, and then, if wanted, together
-- all that still share the common status; see codec.go. It enters what it moved in the trail.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- KEYS[3] open       detachd:{d4k2m0h5tq3s7g8p9v20}:open
-- KEYS[4] calls      detachd:{d4k2m0h5tq3s7g8p9v20}:calls
-- KEYS[5] errors     detachd:{d4k2m0h5tq3s7g8p9v20}:errors
-- KEYS[6] unproven   detachd:{d4k2m0h5tq3s7g8p9v20}:unproven
-- KEYS[7] trail      detachd:{d4k2m0h5tq3s7g8p9v20}:t:0
-- KEYS[8] index_log  detachd:{d4k2m0h5tq3s7g8p9v20}:indexed
-- ARGV[1]   now             1772366400000 (ms)
-- ARGV[2]   number          0 (of the chunk)
-- ARGV[3]   call_id         d4k2m0h5tq3s7g8p9v30, or "" (there was no call)
-- ARGV[4]   call            {"id":"d4k2m0h5tq3s7g8p9v30",…}, or ""
-- ARGV[5]   common_was      Q;0;mm7p6yo0;; (the common status as read), or "" (no row to move shares it)
-- ARGV[6]   common_next     S;1;mm7p6zsg;d4k2m0h5tq3s7g8p9v30;, or "" (leave it)
-- ARGV[7]   sharers         99 (how many rows must share it to be moved together)
-- ARGV[8]   together_moves  ["QS||","0-98"] (for the trail: the moves of those)
-- ARGV[9]   head            ,"by":"worker-1" (for the trail: what the entry says of all)
-- ARGV[10]  logged          two bytes per bucket (for the log of indexes, before names are entered), or ""
-- ARGV[11…] rows to move one by one, each:
--   id       desktop-7
--   was      2r;S;1;mm7p6yo0;; (its value as read)
--   next     2r;Q;1;mm7p6zsg;; (its new value)
--   failure  {"c":"WKS.1",…} (its last refusal), "-" (remove that), or "" (leave that)
--   tag      "SQ||WKS.1" (for the trail: the move without its position)
-- Returns {a string of 1 (moved by this write) or 0 per row moved one by one, 1 if it moved the
-- common status, 1 if this was the operation's last work, what became of the brake (0:
-- nothing, 1: its canary was confirmed, 2: it stopped the operation, now or before this call)}

local operation, chunk, open, calls = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local errors, unproven, trail, index_log = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local now, number, call_id, call = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local common_was, common_next, sharers = ARGV[5], ARGV[6], tonumber(ARGV[7])
local together_moves, head, logged = ARGV[8], ARGV[9], ARGV[10]
local first_row, row_args = 11, 5

local ids = {} -- of the rows to move one by one
for i = first_row, #ARGV, row_args do ids[#ids+1] = ARGV[i] end

local function state_of(status) return status:sub(1, 1) end

local in_chunk = redis.call('HMGET', chunk, '', unpack(ids)) -- the common value, and those of the rows
local stored = in_chunk[1] or ''
local count, common = stored:match('^(%d+)|(.*)$')
if not common then return {string.rep('0', #ids), 0, 0, 0} end -- the operation is gone
count = tonumber(count)

local states = {'Q', 'S', 'A', 'D', 'F', 'H', 'X', 'R', 'N'}
local of_operation = redis.call('HMGET', operation, 'brake', 'deadline', 'seal', 'sealing', 'ended',
  'nQ', 'nS', 'nA', 'nD', 'nF', 'nH', 'nX', 'nR', 'nN') -- the last ones in the order of states
local brake, deadline, seal, sealing, ended = unpack(of_operation, 1, 5)
local counts = {} -- state -> how many rows of the operation
for i, state in ipairs(states) do counts[state] = tonumber(of_operation[5+i] or 0) end
brake = decode_brake(brake)
local braked = false -- rows did not move because it has stopped the operation

-- What is to be written.
local chunk_fields, new_errors, old_errors = {}, {}, {}
local operation_fields, old_operation_fields = {}, {}
local delta = {} -- state -> how many rows more, or less
local requeued = 0 -- how many rows a retry queued again
local tags, positions = {}, {} -- of rows moved one by one: tags in their order; tag -> positions
local moves = {} -- for the trail

local function set(fields, field, value)
  fields[#fields+1] = field
  fields[#fields+1] = value
end

-- Whether the brake lets a row be in a call; no entry: several together.
local function passes(entry, from, to)
  if not brake or to ~= 'S' or from == 'S' then return true end
  local may = may_be_called(brake, entry)
  braked = braked or not may and brake.stopped ~= ''
  return may
end

local function count_move(from, to, n, entry, failure)
  if from == to then return end
  if brake then count_in_brake(brake, entry, from, to, n, failure or '') end
  if to == 'Q' and (from == 'F' or from == 'H') then requeued = requeued + n end
  delta[from] = (delta[from] or 0) - n
  delta[to] = (delta[to] or 0) + n
end

local function note_failure(id, failure)
  if failure == '-' then old_errors[#old_errors+1] = id
  elseif failure ~= '' then set(new_errors, id, failure) end
end

local function note_move(tag, position)
  if not positions[tag] then
    tags[#tags+1] = tag
    positions[tag] = {}
  end
  table.insert(positions[tag], string.format('%d', tonumber(position, 36)))
end

-- Whether the trail has this very write: its reply was lost, and it is sent again. Another
-- worker may have made the same moves in the same millisecond; they are not this one's.
local entry_head = '{"t":' .. now .. head .. ',"m":['
local again
local function sent_again()
  if again == nil then
    again = false
    for _, entry in ipairs(redis.call('LRANGE', trail, 0, -1)) do
      again = again or entry:sub(1, #entry_head) == entry_head
    end
  end
  return again
end

-- Moves rows one by one. own: the state of a row that does not share the common status.
local function move_rows()
  local done = {}
  for n, id in ipairs(ids) do
    local _, was, next, failure, tag = unpack(ARGV, first_row + (n-1)*row_args, first_row + n*row_args - 1)
    local own = was:match(';(.)')
    local position, to = next:match('^([^;]+);(.)')
    local from, entry = own or state_of(common), brake and brake_entry(number, id)
    local value = in_chunk[1+n]
    if value == was and (own or common == common_was) and passes(entry, from, to) then
      set(chunk_fields, id, next)
      count_move(from, to, 1, entry, failure)
      if not own then count = count - 1 end
      note_failure(id, failure)
      note_move(tag, position)
      done[n] = '1'
    else
      done[n] = value == next and sent_again() and '1' or '0'
    end
  end
  for i, tag in ipairs(tags) do
    moves[i] = '[' .. tag .. ',"' .. table.concat(positions[tag], ',') .. '"]'
  end
  return table.concat(done)
end

local function move_together()
  if common_next == '' or count ~= sharers then return 0 end
  if common == common_was and passes(nil, state_of(common), state_of(common_next)) then
    count_move(state_of(common), state_of(common_next), count)
    common = common_next
    moves[#moves+1] = together_moves
    return 1
  end
  return common == common_next and sent_again() and 1 or 0
end

local function write(command, key, args)
  if #args > 0 then redis.call(command, key, unpack(args)) end
end

local function write_trail()
  if #moves == 0 then return end
  if seal or sealing then old_operation_fields = {'seal', 'sealing'} end -- they are about a shorter trail
  if logged ~= '' then redis.call('APPEND', index_log, logged) end
  redis.call('RPUSH', trail, entry_head .. table.concat(moves, ',') .. ']}')
end

-- Counts what a retry queued again. A question or an answer about how many desktops the operation
-- asks for was about fewer.
local function write_requeued()
  if requeued == 0 then return end
  redis.call('HINCRBY', operation, 'requeued', requeued)
  local clearance = redis.call('HGET', operation, 'clearance')
  local why = clearance and cjson.decode(clearance).why
  if why == 'limit' or why == 'undo' then redis.call('HDEL', operation, 'clearance') end
end

-- Adds to how many rows of the chunk have work left. Returns how many have, or nil if that did
-- not change, and whether it was none.
local function add_left(key, n)
  if n == 0 then return nil, false end
  local left = redis.call('HINCRBY', key, number, n)
  if left <= 0 then redis.call('HDEL', key, number) end
  return math.max(left, 0), n > 0 and left == n
end

local bits = move_rows()
local together = move_together()

local value = count .. '|' .. common
if value ~= stored then set(chunk_fields, '', value) end
write('HSET', chunk, chunk_fields)
write('HSET', errors, new_errors)
write('HDEL', errors, old_errors)
if call_id ~= '' and not (braked and #moves == 0) then redis.call('HSET', calls, call_id, call) end
write_trail()
write_requeued()
for state, n in pairs(delta) do
  if n ~= 0 then set(operation_fields, 'n' .. state, counts[state] + n) end
end
local stopped = call_id ~= '' and brake and brake.stopped ~= '' -- its rows may be in the call, as they were in one before
local brake_event = (braked or stopped) and 2 or 0
if brake and #moves > 0 then
  brake_event = math.max(brake_event, settle_brake(brake, deadline, tonumber(now)))
  set(operation_fields, 'brake', cjson.encode(brake))
end

local left_open, open_began = add_left(open, (delta.Q or 0) + (delta.S or 0))
local left_unproven, unproven_began = add_left(unproven, delta.A or 0)
-- None of the two keys exists any more. One that has a row of this chunk does.
local last = (left_open or left_unproven) and (left_open or 0) + (left_unproven or 0) == 0
  and redis.call('EXISTS', open, unproven) == 0
if last then set(operation_fields, 'ended', now)
elseif ended and (open_began or unproven_began) then old_operation_fields[#old_operation_fields+1] = 'ended' end
write('HSET', operation, operation_fields)
write('HDEL', operation, old_operation_fields)
return {bits, together, last and 1 or 0, brake_event}
