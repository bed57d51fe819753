package record

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

var scriptClaim = script("claim", "clock", "pause", "holder")

var scriptRenew = script("renew", "clock", "pause", "holder")

var scriptRelease = script("release", "holder")

var scriptLinger = script("linger", "clock", "holder")

// PausedError says that the project is paused.
type PausedError struct {
	Project string
	For     time.Duration // 0: until it is resumed
}

func (e *PausedError) Error() string { return "project " + e.Project + " is paused" }

// Claim is the right to act on desktops of a project, for one batch of calls. Only its
// holder or the end of its lease ends it: the call of a silent worker may still have an
// effect.
type Claim struct {
	Project  string
	Holder   string // worker id, a slash and the id of a batch
	Desktops []string
}

// Claim claims c.Desktops; no desktop can be claimed twice at a time, by any worker or
// operation. got says per desktop whether it was claimed; the others are claimed for
// another call, and the last of those leases ends after free. With a *PausedError
// nothing was claimed. Claiming again renews the lease, which Redis' clock measures.
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
	hashes := make([]string, len(c.Desktops))
	for i, d := range c.Desktops {
		hashes[i] = claimHash(d)
	}
	return &scriptCall{
		script: scriptRenew, args: []any{c.Holder, lease.Milliseconds(), len(hashes), strings.Join(hashes, "\n")},
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

// Linger keeps desktops claimed after the end of their call, because the call may still
// have an effect; see Apply. It renews claims that Redis has lost.
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

// Release releases claimed desktops; it skips those that another holder has claimed since.
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
	return &scriptCall{script: scriptRelease, args: claimArgs(c.Desktops, c.Holder), keys: []string{
		r.keys.claims(c.Project), r.keys.holders(c.Project),
	}}
}

// claimArgs appends desktops as hashes of 64 bits, which take a third of the bytes. If
// two desktops have the same hash, one waits for the other.
func claimArgs(desktops []string, first ...any) []any {
	args := make([]any, len(first), len(first)+len(desktops))
	copy(args, first)
	for _, d := range desktops {
		args = append(args, claimHash(d))
	}
	return args
}

func claimHash(desktop string) string { return strconv.FormatUint(xxhash.Sum64String(desktop), 36) }
