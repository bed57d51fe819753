package record

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/xid"
)

// readLease is how long the process that reads an object may be silent before another may
// continue.
const readLease = 20 * time.Second

// lease is the right of one process to read on what is read from the cloud while clients ask
// for it: a plan, or a review of access. No other process reads it until Leave, or until the
// holder is silent for readLease.
type lease struct {
	record    *Record
	key, what string
	holder    string
}

var scriptTakeLease = script("take_lease", "clock")

var scriptWriteLease = script("write_lease", "clock")

// take records a request for what a key has; none is the error if it has nothing. The lease has
// a holder if it is not done, no other process has it, and free is true.
func (r *Record) take(ctx context.Context, key, what string, free bool, none error) (lease, error) {
	l := lease{record: r, key: key, what: what}
	holder := ""
	if free {
		holder = xid.New().String()
	}
	v, err := r.runScript(ctx, scriptTakeLease, []string{key}, holder, readLease.Milliseconds(), planKept.Milliseconds())
	n, _ := v.(int64)
	if err == nil && n == -1 {
		err = none
	}
	if err != nil {
		return l, fmt.Errorf("taking %s: %w", what, err)
	}
	if n == 1 {
		l.holder = holder
	}
	return l, nil
}

// Keep renews the lease, and returns the time since the object was last requested. The error
// is ErrOvertaken if another process reads it now, or it has expired.
func (l lease) Keep(ctx context.Context) (unasked time.Duration, err error) { return l.write(ctx) }

// Leave ends the lease: the next process that requests the object may continue it.
func (l lease) Leave(ctx context.Context) error {
	_, err := l.write(ctx, "holder", "", "until", "0")
	return err
}

// write writes fields, and renews the lease.
func (l lease) write(ctx context.Context, fields ...any) (unasked time.Duration, err error) {
	args := append([]any{l.holder, readLease.Milliseconds(), planKept.Milliseconds()}, fields...)
	v, err := l.record.runScript(ctx, scriptWriteLease, []string{l.key}, args...)
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", l.what, err)
	}
	ms, _ := v.(int64)
	if ms < 0 {
		return 0, fmt.Errorf("writing %s: %w", l.what, ErrOvertaken)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
