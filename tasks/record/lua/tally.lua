-- Adds to the tallies of a project, once for a batch.
-- KEYS[1]  last_batch  detachd:{p:hq}:tallied:worker-1
-- KEYS[2…] hashes, each hour:
--   minutes   detachd:{p:hq}:minutes:492324
--   quarters  detachd:{p:hq}:quarters:492324
-- ARGV[1]  batch          d4k2m0h5tq3s7g8p9v30, or "" (it is not sent again)
-- ARGV[2]  minutes_kept   7200 (s)
-- ARGV[3]  quarters_kept  90000 (s; the last batch, too)
-- ARGV[4…] counts, each:
--   hash   2 (its number in KEYS)
--   field  59c (minute or quarter, and what is counted)
--   n      3 (how many more)
-- Returns 1, or 0 if the batch was added before

local last_batch = KEYS[1]
local batch, minutes_kept, quarters_kept = ARGV[1], ARGV[2], ARGV[3]
local first_hash, first_count, count_args = 2, 4, 3

if batch ~= '' then
  if redis.call('GET', last_batch) == batch then return 0 end
  redis.call('SET', last_batch, batch, 'EX', quarters_kept)
end
for i = first_count, #ARGV, count_args do
  local hash, field, n = unpack(ARGV, i, i + count_args - 1)
  redis.call('HINCRBY', KEYS[tonumber(hash)], field, n)
end
for i = first_hash, #KEYS, 2 do
  redis.call('EXPIRE', KEYS[i], minutes_kept)
  redis.call('EXPIRE', KEYS[i+1], quarters_kept)
end
return 1
