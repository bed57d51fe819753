-- Counts the desktops of an operation against what a key may ask for, by the minute, unless
-- it would exceed that. A second count of an operation replaces the first: that was of a try that was
-- not accepted.
-- KEYS[1] used     detachd:{q:hr}:used
-- KEYS[2] counted  detachd:{q:hr}:counted
-- ARGV[1] operation  d4k2m0h5tq3s7g8p9v20/100
-- ARGV[2] desktops   100
-- ARGV[3] hourly     500, or 0 (no limit)
-- ARGV[4] daily      2000, or 0 (no limit)
-- Returns {1 if it is counted, else ms until it would be, or -1 if it exceeds a limit alone}

local used, counted = KEYS[1], KEYS[2]
local operation, desktops, hourly, daily = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local length, day = 60 * 1000, 24 * 60
local now = clock_ms()

local this, counts = math.floor(now / length), {}
local before = tonumber(redis.call('ZSCORE', counted, operation) or -1)
before = math.floor(before / length) -- the minute of the first count
local entries = redis.call('HGETALL', used)
for i = 1, #entries, 2 do
  local minute = tonumber(entries[i])
  if minute <= this - day then
    redis.call('HDEL', used, entries[i])
  else
    local n = tonumber(entries[i + 1])
    if minute == before then n = n - desktops end
    counts[#counts + 1] = {minute = minute, n = n}
  end
end
table.sort(counts, function(a, b) return a.minute > b.minute end)

-- How long until a limit over so many minutes leaves room.
local function wait(limit, span)
  if limit == 0 then return 0 end
  if desktops > limit then return -1 end
  local sum = desktops
  for _, c in ipairs(counts) do
    if c.minute <= this - span then break end
    sum = sum + c.n
    if sum > limit then return (c.minute + span) * length - now end
  end
  return 0
end

local hour_wait, day_wait = wait(hourly, 60), wait(daily, day)
if hour_wait < 0 or day_wait < 0 then return {0, -1} end
if hour_wait > 0 or day_wait > 0 then return {0, math.max(hour_wait, day_wait)} end
if redis.call('HEXISTS', used, before) == 1 then redis.call('HINCRBY', used, before, 0 - desktops) end
redis.call('HINCRBY', used, this, desktops)
redis.call('ZADD', counted, now, operation)
redis.call('ZREMRANGEBYSCORE', counted, '-inf', now - day * length)
redis.call('PEXPIRE', used, (day + 1) * length)
redis.call('PEXPIRE', counted, (day + 1) * length)
return {1, 0}
