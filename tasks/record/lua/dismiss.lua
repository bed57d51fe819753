-- Adds to a chunk's trail that those rows were dismissed that are still as they were read.
-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op
-- KEYS[2] chunk      detachd:{d4k2m0h5tq3s7g8p9v20}:c:0
-- KEYS[3] trail      detachd:{d4k2m0h5tq3s7g8p9v20}:t:0
-- ARGV[1]  now         1772366400000 (ms)
-- ARGV[2]  head        ,"by":"ann" (for the trail: what the entry says of all)
-- ARGV[3]  failed_tag  "FF|d|replaced" (for the trail: the move of the failed ones)
-- ARGV[4]  held_tag    "HH|d|replaced" (and of those on hold)
-- ARGV[5…] rows, each:
--   id          desktop-7
--   was         2r;F;1;mm7p6yo0;; (its value as read)
--   common_was  Q;0;mm7p6yo0;; (the common status as read), or "" (the row has its own)
--   position    99
-- Returns a string of 1 (dismissed) or 0 per row

local operation, chunk, trail = KEYS[1], KEYS[2], KEYS[3]
local now, head, failed_tag, held_tag = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first_row, row_args = 5, 4

local common = (redis.call('HGET', chunk, '') or ''):match('^%d+|(.*)$') or ''
local done, positions = {}, {F = {}, H = {}}
for i = first_row, #ARGV, row_args do
  local id, was, common_was, position = unpack(ARGV, i, i + row_args - 1)
  local value = redis.call('HGET', chunk, id)
  local own = value and value:match(';(.)')
  local list = positions[own or common:sub(1, 1)]
  if value == was and (own or common == common_was) and list then
    done[#done+1] = '1'
    list[#list+1] = position
  else
    done[#done+1] = '0'
  end
end

local moves = {}
local function add_move(tag, list)
  if #list > 0 then moves[#moves+1] = '[' .. tag .. ',"' .. table.concat(list, ',') .. '"]' end
end
add_move(failed_tag, positions.F)
add_move(held_tag, positions.H)
if #moves > 0 then
  redis.call('HDEL', operation, 'seal', 'sealing') -- they are about a shorter trail
  redis.call('RPUSH', trail, '{"t":' .. now .. head .. ',"m":[' .. table.concat(moves, ',') .. ']}')
end
return table.concat(done)
