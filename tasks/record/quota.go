package record

import (
	"context"
	"fmt"
	"time"
)

// Quota is how many desktops a key may ask for; 0: no limit. Keys of the same name share what
// they have used.
type Quota struct{ Hourly, Daily int }

var scriptQuota = script("quota", "clock")

// TakeQuota counts the desktops of an operation against the quota of a key, or refuses it: ok
// is false, and after is how long it takes until there is room, 0 if there never will be. An
// operation is counted once, however often it asks for as many desktops. The windows slide by
// the minute.
func (r *Record) TakeQuota(ctx context.Context, key, op string, desktops int, q Quota) (ok bool, after time.Duration, err error) {
	// A small request that is counted and not accepted must not stand for a large one with its
	// idempotency key, and so with its id.
	counted := fmt.Sprintf("%s/%d", op, desktops)
	call := &scriptCall{
		script: scriptQuota, keys: []string{r.keys.quotaUsed(key), r.keys.quotaCounted(key)}, args: []any{counted, desktops, q.Hourly, q.Daily},
	}
	if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
		return false, 0, fmt.Errorf("counting the quota of key %s: %w", key, err)
	}
	v, err := call.reply.Int64Slice()
	if err != nil || len(v) != 2 {
		return false, 0, fmt.Errorf("counting the quota of key %s: unexpected reply %v: %w", key, v, err)
	}
	return v[0] == 1, max(0, time.Duration(v[1])*time.Millisecond), nil
}
