package tasks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// scriptClaim takes desktops for one call, unless the project is paused.
//
//	KEYS  gate, claims, holders
//	ARGV  holder, lease ms, desktops…
//	Returns {ms until the gate opens (-1: not by itself, 0: open), a string of
//	      1 (claimed) and 0 (held by another) per desktop}
var scriptClaim = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1]*1000 + math.floor(t[2]/1000)
local gate = redis.call('HGET', KEYS[1], 'until')
if gate then
  local u = tonumber(gate)
  if u == 0 then return {-1, ''} end
  if u > now then return {u - now, ''} end
end
local lease = string.format('%.0f|', now + tonumber(ARGV[2]))
local function taken()
  local any, t = false, redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 3))
  for i = 1, #t do if t[i] == 1 then any = true end end
  return any, t
end
if not taken() then
  redis.call('SADD', KEYS[2], unpack(ARGV, 3))
  redis.call('HSET', KEYS[3], ARGV[1], lease .. table.concat(ARGV, '\n', 3))
  return {0, string.rep('1', #ARGV - 2)}
end
local mine, list = {}, {}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local untilMS, held = all[i+1]:match('^(%d+)|(.*)$')
  if all[i] == ARGV[1] then
    for id in held:gmatch('[^\n]+') do mine[id] = true; list[#list+1] = id end
  elseif tonumber(untilMS) <= now then
    for id in held:gmatch('[^\n]+') do redis.call('SREM', KEYS[2], id) end
    redis.call('HDEL', KEYS[3], all[i])
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
return {0, table.concat(got)}
`)

// scriptRelease gives desktops back that the holder still holds, all of them if
// none is named.
//
//	KEYS  claims, holders
//	ARGV  holder, desktops…
var scriptRelease = redis.NewScript(`
local entry = redis.call('HGET', KEYS[2], ARGV[1])
if not entry then return 0 end
local lease, held = entry:match('^(%d+|)(.*)$')
if #ARGV > 1 and table.concat(ARGV, '\n', 2) == held then
  redis.call('SREM', KEYS[1], unpack(ARGV, 2))
  redis.call('HDEL', KEYS[2], ARGV[1])
  return #ARGV - 1
end
local give, keep, n = {}, {}, 0
for i = 2, #ARGV do give[ARGV[i]] = true end
for id in held:gmatch('[^\n]+') do
  if #ARGV == 1 or give[id] then
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

// PausedError says that the project's gate is closed.
type PausedError struct {
	Project string
	For     time.Duration // 0: until it is resumed
}

func (e *PausedError) Error() string { return "project " + e.Project + " is paused" }

// Claim is the right to act on desktops of a project, for one call.
type Claim struct {
	Project  string
	Holder   string // worker id, a slash and a call id
	Desktops []string
}

// Claim takes c.Desktops for one call: no desktop is claimed twice at a time,
// by whichever worker or operation. got tells per desktop whether it was
// claimed; the others are in another call just now. A *PausedError means that
// the gate is closed and nothing was claimed. Claiming again renews the lease.
// The claim ends by Release, or by itself after lease.
func (r *Record) Claim(ctx context.Context, c Claim, lease time.Duration) (got []bool, err error) {
	call := r.claimCall(c, lease)
	if err := r.runScripts(ctx, []*scriptCall{call}, nil); err != nil {
		return nil, fmt.Errorf("claiming desktops of project %s: %w", c.Project, err)
	}
	return claimed(c, call.reply)
}

func (r *Record) claimCall(c Claim, lease time.Duration) *scriptCall {
	return &scriptCall{
		script: scriptClaim, args: claimArgs(c.Desktops, c.Holder, lease.Milliseconds()),
		keys: []string{r.keys.gate(c.Project), r.keys.claims(c.Project), r.keys.holders(c.Project)},
	}
}

func claimed(c Claim, reply *redis.Cmd) (got []bool, err error) {
	v, err := reply.Slice()
	if err != nil || len(v) != 2 {
		return nil, fmt.Errorf("claiming desktops of project %s: unexpected reply %v: %w", c.Project, v, err)
	}
	if wait, _ := v[0].(int64); wait != 0 {
		return nil, &PausedError{Project: c.Project, For: time.Duration(max(wait, 0)) * time.Millisecond}
	}
	bits, _ := v[1].(string)
	if len(bits) != len(c.Desktops) {
		return nil, fmt.Errorf("claiming desktops of project %s: unexpected reply %q", c.Project, bits)
	}
	got = make([]bool, len(c.Desktops))
	for i := range got {
		got[i] = bits[i] == '1'
	}
	return got, nil
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

// releaseAll gives back everything that a dead worker's calls held.
func (r *Record) releaseAll(ctx context.Context, project, worker string) error {
	holders, err := r.rdb.HKeys(ctx, r.keys.holders(project)).Result()
	if err != nil {
		return fmt.Errorf("releasing claims of worker %s: %w", worker, err)
	}
	var calls []*scriptCall
	for _, h := range holders {
		if strings.HasPrefix(h, worker+"/") {
			calls = append(calls, r.releaseCall(Claim{Project: project, Holder: h}))
		}
	}
	if len(calls) == 0 {
		return nil
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return fmt.Errorf("releasing claims of worker %s: %w", worker, err)
	}
	return nil
}
