package record

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// luaOpen begins scripts that act only while the project's gate, KEYS[1], is open.
const luaOpen = `
local t = redis.call('TIME')
local now = t[1]*1000 + math.floor(t[2]/1000)
local gate = redis.call('HGET', KEYS[1], 'until')
if gate then
  local u = tonumber(gate)
  if u == 0 then return {-1, '', 0} end
  if u > now then return {u - now, '', 0} end
end
`

// scriptClaim takes desktops for one call, unless the project is paused.
//
//	KEYS  gate, claims, holders
//	ARGV  holder, lease ms, desktops…
//	Returns {ms until the gate opens (-1: not by itself, 0: open), a string of
//	      1 (claimed) and 0 (held by another) per desktop, ms until the last lease of
//	      those others is over}
var scriptClaim = redis.NewScript(luaOpen + `
local lease = string.format('%.0f|', now + tonumber(ARGV[2]))
local function taken()
  local any, t = false, redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 3))
  for i = 1, #t do if t[i] == 1 then any = true end end
  return any, t
end
if not taken() then
  redis.call('SADD', KEYS[2], unpack(ARGV, 3))
  redis.call('HSET', KEYS[3], ARGV[1], lease .. table.concat(ARGV, '\n', 3))
  return {0, string.rep('1', #ARGV - 2), 0}
end
local mine, list, wanted, free = {}, {}, {}, 0
for i = 3, #ARGV do wanted[ARGV[i]] = true end
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local untilMS, held = all[i+1]:match('^(%d+)|(.*)$')
  if all[i] == ARGV[1] then
    for id in held:gmatch('[^\n]+') do mine[id] = true; list[#list+1] = id end
  elseif tonumber(untilMS) <= now then
    for id in held:gmatch('[^\n]+') do redis.call('SREM', KEYS[2], id) end
    redis.call('HDEL', KEYS[3], all[i])
  else
    for id in held:gmatch('[^\n]+') do
      if wanted[id] then free = math.max(free, tonumber(untilMS) - now) end
    end
  end
end
local _, t = taken()
local got, add = {}, {}
for i = 1, #t do
  local id = ARGV[i+2]
  if mine[id] then got[i] = '1'
  elseif t[i] == 1 then got[i] = '0'
  else got[i] = '1'; add[#add+1] = id; list[#list+1] = id end
end
if #add > 0 then redis.call('SADD', KEYS[2], unpack(add)) end
if #list > 0 then redis.call('HSET', KEYS[3], ARGV[1], lease .. table.concat(list, '\n')) end
return {0, table.concat(got), free}
`)

// scriptRenew renews a lease, unless the project is paused. A lease that is over is
// renewed as long as nobody else has claimed since.
//
//	KEYS  gate, holders
//	ARGV  holder, lease ms, desktops…
//	Returns the same as scriptClaim; 0: no longer claimed
var scriptRenew = redis.NewScript(luaOpen + `
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry then return {0, string.rep('0', #ARGV - 2), 0} end
local held = entry:match('^%d+|(.*)$')
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f|', now + tonumber(ARGV[2])) .. held)
if held == table.concat(ARGV, '\n', 3) then return {0, string.rep('1', #ARGV - 2), 0} end
local mine, got = {}, {}
for id in held:gmatch('[^\n]+') do mine[id] = true end
for i = 3, #ARGV do got[i-2] = mine[ARGV[i]] and '1' or '0' end
return {0, table.concat(got), 0}
`)

// scriptRelease gives desktops back that the holder still holds.
//
//	KEYS  claims, holders
//	ARGV  holder, desktops…
var scriptRelease = redis.NewScript(`
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry then return 0 end
local lease, held = entry:match('^(%d+|)(.*)$')
if table.concat(ARGV, '\n', 2) == held then
  redis.call('SREM', KEYS[1], unpack(ARGV, 2))
  redis.call('HDEL', KEYS[2], ARGV[1])
  return #ARGV - 1
end
local give, keep, n = {}, {}, 0
for i = 2, #ARGV do give[ARGV[i]] = true end
for id in held:gmatch('[^\n]+') do
  if give[id] then
    redis.call('SREM', KEYS[1], id)
    n = n + 1
  else
    keep[#keep+1] = id
  end
end
if #keep == 0 then redis.call('HDEL', KEYS[2], ARGV[1])
else redis.call('HSET', KEYS[2], ARGV[1], lease .. table.concat(keep, '\n')) end
return n
`)

// scriptLinger hands desktops from a holder to one that never gives them back, and
// claims those that Redis has forgotten. What another has claimed stays as it is.
//
//	KEYS  claims, holders
//	ARGV  holder, the other holder, lease ms, desktops…
var scriptLinger = redis.NewScript(`
local t = redis.call('TIME')
local ends = t[1]*1000 + math.floor(t[2]/1000) + tonumber(ARGV[3])
local mine, leave, keep, list = {}, {}, {}, {}
local lease, held = (redis.call('HGET', KEYS[2], ARGV[1]) or '0|'):match('^(%d+|)(.*)$')
for i = 4, #ARGV do leave[ARGV[i]] = true end
for id in held:gmatch('[^\n]+') do
  mine[id] = true
  if not leave[id] then keep[#keep+1] = id end
end
for i = 4, #ARGV do
  if mine[ARGV[i]] or redis.call('SADD', KEYS[1], ARGV[i]) == 1 then list[#list+1] = ARGV[i] end
end
if #keep == 0 then redis.call('HDEL', KEYS[2], ARGV[1])
else redis.call('HSET', KEYS[2], ARGV[1], lease .. table.concat(keep, '\n')) end
if #list > 0 then redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f|', ends) .. table.concat(list, '\n')) end
return #list
`)

// PausedError says that the project's gate is closed.
type PausedError struct {
	Project string
	For     time.Duration // 0: until it is resumed
}

func (e *PausedError) Error() string { return "project " + e.Project + " is paused" }

// Claim is the right to act on desktops of a project, for one batch of calls. It ends
// by its holder or by its lease, and by nothing else: that a worker is not heard of
// does not mean that its call has no effect any more.
type Claim struct {
	Project  string
	Holder   string // worker id, a slash and the id of a batch
	Desktops []string
}

// Claim takes c.Desktops: no desktop is claimed twice at a time, by whichever worker or
// operation. got tells per desktop whether it was claimed; the others are in another
// call just now, the last of whose leases is over after free. A *PausedError means that
// the gate is closed and nothing was claimed. Claiming again renews the lease, which
// counts by Redis' clock.
func (r *Record) Claim(ctx context.Context, c Claim, lease time.Duration) (got []bool, free time.Duration, err error) {
	call := &scriptCall{
		script: scriptClaim, args: claimArgs(c.Desktops, c.Holder, lease.Milliseconds()),
		keys: []string{r.keys.gate(c.Project), r.keys.claims(c.Project), r.keys.holders(c.Project)},
	}
	if err := r.runScripts(ctx, []*scriptCall{call}, nil); err != nil {
		return nil, 0, fmt.Errorf("claiming desktops of project %s: %w", c.Project, err)
	}
	return claimed(c, call.reply)
}

// renewCall renews a claim; see ApplyRenewing.
func (r *Record) renewCall(c Claim, lease time.Duration) *scriptCall {
	return &scriptCall{
		script: scriptRenew, args: claimArgs(c.Desktops, c.Holder, lease.Milliseconds()),
		keys: []string{r.keys.gate(c.Project), r.keys.holders(c.Project)},
	}
}

func claimed(c Claim, reply *redis.Cmd) (got []bool, free time.Duration, err error) {
	v, err := reply.Slice()
	if err != nil || len(v) != 3 {
		return nil, 0, fmt.Errorf("claiming desktops of project %s: unexpected reply %v: %w", c.Project, v, err)
	}
	ms := func(v any) time.Duration {
		n, _ := v.(int64)
		return time.Duration(n) * time.Millisecond
	}
	if wait := ms(v[0]); wait != 0 {
		return nil, 0, &PausedError{Project: c.Project, For: max(wait, 0)}
	}
	bits, _ := v[1].(string)
	if len(bits) != len(c.Desktops) {
		return nil, 0, fmt.Errorf("claiming desktops of project %s: unexpected reply %q", c.Project, bits)
	}
	got = make([]bool, len(c.Desktops))
	for i := range got {
		got[i] = bits[i] == '1'
	}
	return got, ms(v[2]), nil
}

// Linger keeps desktops claimed although the call that they were claimed for is over,
// since it may still have an effect; see Apply. Claims that Redis has lost are made
// anew.
type Linger struct {
	Claim Claim
	Call  string        // the call
	For   time.Duration // from now, by Redis' clock; at least 1 ms
}

func (l Linger) call(r *Record) *scriptCall {
	c := l.Claim
	return &scriptCall{
		script: scriptLinger, keys: []string{r.keys.claims(c.Project), r.keys.holders(c.Project)},
		args: claimArgs(c.Desktops, c.Holder, c.Holder+"/"+l.Call, max(1, l.For.Milliseconds())),
	}
}

// Release gives claimed desktops back; those that have passed to another
// holder are left alone.
func (r *Record) Release(ctx context.Context, c Claim) error {
	if len(c.Desktops) == 0 {
		return nil
	}
	if err := r.runScripts(ctx, []*scriptCall{r.releaseCall(c)}, nil); err != nil {
		return fmt.Errorf("releasing desktops of project %s: %w", c.Project, err)
	}
	return nil
}

func (r *Record) releaseCall(c Claim) *scriptCall {
	return &scriptCall{script: scriptRelease, keys: []string{r.keys.claims(c.Project), r.keys.holders(c.Project)}, args: claimArgs(c.Desktops, c.Holder)}
}

// claimArgs appends desktops as hashes of 64 bits, which is a third of the
// bytes. Should two ever meet, one waits for the other.
func claimArgs(desktops []string, first ...any) []any {
	args := make([]any, len(first), len(first)+len(desktops))
	copy(args, first)
	for _, d := range desktops {
		args = append(args, strconv.FormatUint(xxhash.Sum64String(d), 36))
	}
	return args
}
