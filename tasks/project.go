package tasks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// PauseKind says who closed a project's gate.
type PauseKind string

// The kinds of pause. A stronger one is not replaced by a weaker.
const (
	Throttled  PauseKind = "throttled" // the cloud asked for fewer calls
	BadAuth    PauseKind = "auth"      // the cloud refused the credentials
	ByOperator PauseKind = "operator"  // a person
)

// Pause is a closed gate: no call of the project leaves, from any worker.
type Pause struct {
	Kind   PauseKind `json:"kind"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed
	Reason string    `json:"reason"`
}

// scriptPause closes a gate unless a stronger or longer pause is on.
//
//	KEYS  gate
//	ARGV  kind, ms from now (0: until resumed), reason
//	Returns 1 if it was written
var scriptPause = redis.NewScript(`
local rank = {throttled=1, auth=2, operator=3}
local t = redis.call('TIME')
local now = t[1]*1000 + math.floor(t[2]/1000)
local cur = redis.call('HMGET', KEYS[1], 'kind', 'until')
local untilMS = 0
if tonumber(ARGV[2]) > 0 then untilMS = now + tonumber(ARGV[2]) end
if cur[1] then
  local u = tonumber(cur[2])
  local on = (u == 0) or (u > now)
  if on and rank[cur[1]] > rank[ARGV[1]] then return 0 end
  if on and cur[1] == ARGV[1] and ARGV[1] == 'throttled' and u >= untilMS then return 0 end
end
redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'until', string.format('%.0f', untilMS), 'reason', ARGV[3])
return 1
`)

// PauseProject closes a project's gate for all workers, for d or, when d is 0,
// until ResumeProject.
func (r *Record) PauseProject(ctx context.Context, project string, kind PauseKind, d time.Duration, reason string) error {
	if _, err := r.runScript(ctx, scriptPause, []string{r.keys.gate(project)}, string(kind), d.Milliseconds(), reason); err != nil {
		return fmt.Errorf("pausing project %s: %w", project, err)
	}
	return nil
}

// ResumeProject opens a project's gate, whoever closed it, or only if it was
// closed as one of the given kinds.
func (r *Record) ResumeProject(ctx context.Context, project string, kinds ...PauseKind) error {
	if len(kinds) > 0 {
		kind, err := r.rdb.HGet(ctx, r.keys.gate(project), "kind").Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("resuming project %s: %w", project, err)
		}
		match := false
		for _, k := range kinds {
			match = match || PauseKind(kind) == k
		}
		if !match {
			return nil
		}
	}
	if err := r.rdb.Del(ctx, r.keys.gate(project)).Err(); err != nil {
		return fmt.Errorf("resuming project %s: %w", project, err)
	}
	return nil
}

// ProjectPause reads a project's gate; nil means open.
func (r *Record) ProjectPause(ctx context.Context, project string) (*Pause, error) {
	v, err := r.rdb.HMGet(ctx, r.keys.gate(project), "kind", "until", "reason").Result()
	if err != nil {
		return nil, fmt.Errorf("reading the gate of project %s: %w", project, err)
	}
	kind, ok := v[0].(string)
	if !ok {
		return nil, nil
	}
	p := &Pause{Kind: PauseKind(kind)}
	p.Reason, _ = v[2].(string)
	if ms := number(v[1]); ms != 0 {
		if p.Until = time.UnixMilli(ms).UTC(); !p.Until.After(time.Now()) {
			return nil, nil
		}
	}
	return p, nil
}

// scriptClaim takes desktops for one call, unless the project is paused.
//
//	KEYS  gate, claims
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
local ids = {}
for i = 3, #ARGV do ids[#ids+1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[2], unpack(ids))
local set, got = {}, {}
local mine = ARGV[1] .. '|' .. string.format('%.0f', now + tonumber(ARGV[2]))
for i = 1, #ids do
  local untilMS = held[i] and tonumber(held[i]:match('|(%d+)$')) or 0
  if untilMS > now and held[i]:match('^(.*)|%d+$') ~= ARGV[1] then
    got[i] = '0'
  else
    got[i] = '1'
    set[#set+1] = ids[i]; set[#set+1] = mine
  end
end
if #set > 0 then redis.call('HSET', KEYS[2], unpack(set)) end
return {0, table.concat(got)}
`)

// scriptRelease gives desktops back, those that are still held by the holder.
//
//	KEYS  claims
//	ARGV  holder, desktops…
var scriptRelease = redis.NewScript(`
local ids = {}
for i = 2, #ARGV do ids[#ids+1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[1], unpack(ids))
local del = {}
for i = 1, #ids do
  if held[i] and held[i]:match('^(.*)|%d+$') == ARGV[1] then del[#del+1] = ids[i] end
end
if #del > 0 then redis.call('HDEL', KEYS[1], unpack(del)) end
return #del
`)

// PausedError: the project's gate is closed.
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
	v, err := r.runScript(ctx, scriptClaim, []string{r.keys.gate(c.Project), r.keys.claims(c.Project)}, claimArgs(c.Desktops, c.Holder, lease.Milliseconds())...)
	if err != nil {
		return nil, fmt.Errorf("claiming desktops of project %s: %w", c.Project, err)
	}
	reply, _ := v.([]any)
	if len(reply) != 2 {
		return nil, fmt.Errorf("claiming desktops of project %s: unexpected reply %v", c.Project, v)
	}
	if wait, _ := reply[0].(int64); wait != 0 {
		return nil, &PausedError{Project: c.Project, For: time.Duration(max(wait, 0)) * time.Millisecond}
	}
	bits, _ := reply[1].(string)
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
	return &scriptCall{script: scriptRelease, keys: []string{r.keys.claims(c.Project)}, args: claimArgs(c.Desktops, c.Holder)}
}

func claimArgs(desktops []string, first ...any) []any {
	for _, d := range desktops {
		first = append(first, d)
	}
	return first
}

// releaseAll gives back everything that a dead worker's calls held. A holder
// is a worker id, a slash and a call id.
func (r *Record) releaseAll(ctx context.Context, project, worker string) error {
	for cursor := uint64(0); ; {
		kv, c, err := r.rdb.HScan(ctx, r.keys.claims(project), cursor, "", 1000).Result()
		if err != nil {
			return fmt.Errorf("releasing claims of worker %s: %w", worker, err)
		}
		held := map[string][]string{}
		for i := 0; i+1 < len(kv); i += 2 {
			if holder, _, ok := cutLast(kv[i+1], "|"); ok && strings.HasPrefix(holder, worker+"/") {
				held[holder] = append(held[holder], kv[i])
			}
		}
		for holder, ids := range held {
			if err := r.Release(ctx, Claim{project, holder, ids}); err != nil {
				return err
			}
		}
		if cursor = c; cursor == 0 {
			return nil
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// AnnounceProjects says that workers serve these projects.
func (r *Record) AnnounceProjects(ctx context.Context, aliases ...string) error {
	if err := r.rdb.SAdd(ctx, r.keys.projects(), aliases).Err(); err != nil {
		return fmt.Errorf("announcing projects: %w", err)
	}
	return nil
}

// Projects lists the aliases that workers have announced.
func (r *Record) Projects(ctx context.Context) ([]string, error) {
	v, err := r.rdb.SMembers(ctx, r.keys.projects()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading projects: %w", err)
	}
	return v, nil
}

// RateKey is the key of a project's shared rate limit.
func (r *Record) RateKey(project string) string {
	return r.keys.prefix + ":{p:" + project + "}:rate"
}
