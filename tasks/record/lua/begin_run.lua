-- Reads a schedule before a run, and notes who is at it, so that others do not read its source
-- at the same time. The note saves work only: it decides nothing.
-- KEYS[1] state  detachd:{schedules}:state:nightly
-- ARGV[1] worker  worker-1
-- ARGV[2] tick    1795651800000 2026-11-30T18:00 (ms and wall clock), or empty (a person asked)
-- ARGV[3] lease   20000 (ms)
-- ARGV[4…] fields  rev
-- Returns {1 if the worker is to go on, else 0; ms; value of each field …}

local state = KEYS[1]
local worker, tick, lease, fields = ARGV[1], ARGV[2], tonumber(ARGV[3]), {unpack(ARGV, 4)}
local now, at = clock_ms(), tonumber(tick:match('^%d+') or '')
local out = {1, now}
for _, v in ipairs(redis.call('HMGET', state, unpack(fields))) do out[#out + 1] = v end
local last, since, busy = unpack(redis.call('HMGET', state, 'last', 'since', 'busy'))
local reached = tonumber(last and last:match('^%d+') or 0)
if not since or at and (tick == last or at < reached or at <= tonumber(since)) then
  return out -- there is nothing to run
end
local until_ms, who = (busy or '0 '):match('^(%d+) (.*)$')
if who ~= worker and tonumber(until_ms) > now then
  out[1] = 0
  return out
end
redis.call('HSET', state, 'busy', string.format('%.0f ', now + lease) .. worker)
return out
