-- Writes what became of a tick, or of a run that a person asked for, unless the schedule has
-- changed since it was read.
-- KEYS[1] state    detachd:{schedules}:state:nightly
-- KEYS[2] lists    detachd:{schedules}:lists:nightly
-- KEYS[3] paused   detachd:{schedules}:paused
-- KEYS[4] failing  detachd:{schedules}:failing
-- KEYS[5] asked    detachd:{schedules}:asked
-- KEYS[6] counts   detachd:{schedules}:counts
-- ARGV[1] name    nightly
-- ARGV[2] rev     17, or empty (it never ran)
-- ARGV[3] id      nightly@2026-11-30T18:00 UTC
-- ARGV[4] result  started
-- ARGV[5] pause   {"by":"detachd",…}, or empty
-- ARGV[6] skip    1 if the tick to skip is over
-- ARGV[7] keep    15552000000 (ms; lists that were not seen for longer are forgotten), or 0 (none)
-- ARGV[8] before  0 (ticks before it that were missed)
-- ARGV[9] fields  8 (number of the following names and values)
-- ARGV[10…] rest   last, 1795651800000 2026-11-30T18:00, …, then SHA-256 of the lists that were seen
-- Returns 1, 0 if it has changed, -1 if there is no such schedule

local state, lists, paused, failing, asked, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local name, rev, id, result, pause, skip = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local keep, before, fields = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local first_rest = 10
local stored, since = unpack(redis.call('HMGET', state, 'rev', 'since'))
if not since then return -1 end
if (stored or '') ~= rev then return 0 end
redis.call('HINCRBY', state, 'rev', 1)
for i = first_rest, first_rest + fields - 1, 2 do redis.call('HSET', state, ARGV[i], ARGV[i + 1]) end
redis.call('HDEL', state, 'busy')
if skip then redis.call('HDEL', state, 'skip') end
if result == 'failed' then redis.call('SADD', failing, name)
elseif result == 'started' or result == 'nothing' then redis.call('SREM', failing, name) end
if pause ~= '' and redis.call('HSETNX', state, 'paused', pause) == 1 then
  redis.call('SADD', paused, name)
  redis.call('SADD', failing, name)
end
redis.call('HINCRBY', counts, result, 1)
if before > 0 then redis.call('HINCRBY', counts, 'missed', before) end
redis.call('HDEL', asked, id)
local now = clock_ms()
for i = first_rest + fields, #ARGV do redis.call('ZADD', lists, now, ARGV[i]) end
if keep > 0 then redis.call('ZREMRANGEBYSCORE', lists, '-inf', string.format('(%.0f', now - keep)) end
return 1
