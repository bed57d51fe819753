-- Adds to the tallies of a project, once for a batch.
-- KEYS[1]  last_batch  detachd:{p:hq}:tallied:worker-1
-- KEYS[2…] hashes, of each minute:
--   minutes   detachd:{p:hq}:minutes:492324
--   results   detachd:{p:hq}:results:9846480
--   quarters  detachd:{p:hq}:quarters:492324
--   days      detachd:{p:hq}:days:82054
-- ARGV[1]  batch          d4k2m0h5tq3s7g8p9v30, or "" (it is not sent again)
-- ARGV[2]  batch_kept     90000 (s)
-- ARGV[3]  minutes_kept   7200 (s)
-- ARGV[4]  results_kept   7200 (s)
-- ARGV[5]  quarters_kept  90000 (s)
-- ARGV[6]  days_kept      691200 (s)
-- ARGV[7…] counts, each:
--   hash   2 (its number in KEYS)
--   field  59c (the step in the hash, and what is counted)
--   n      3 (how many more)
-- Returns 1, or 0 if the batch was added before

local last_batch = KEYS[1]
local batch, batch_kept = ARGV[1], ARGV[2]
local minutes_kept, results_kept, quarters_kept, days_kept = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local first_hash, first_count, count_args = 2, 7, 3

if batch ~= '' then
  if redis.call('GET', last_batch) == batch then return 0 end
  redis.call('SET', last_batch, batch, 'EX', batch_kept)
end
for i = first_count, #ARGV, count_args do
  local hash, field, n = unpack(ARGV, i, i + count_args - 1)
  redis.call('HINCRBY', KEYS[tonumber(hash)], field, n)
end
for i = first_hash, #KEYS, 4 do
  redis.call('EXPIRE', KEYS[i], minutes_kept)
  redis.call('EXPIRE', KEYS[i+1], results_kept)
  redis.call('EXPIRE', KEYS[i+2], quarters_kept)
  redis.call('EXPIRE', KEYS[i+3], days_kept)
end
return 1
