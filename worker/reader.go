package worker

import (
	"context"
	"slices"
	"sync"

	"github.com/detachd/detachd/apiclient"
)

// reader coalesces readings, of desktops or of what projects have to do. While as many as allowed
// are in flight, further ids wait for the next one, which has up to 100, of any operations.
type reader[V any] struct {
	readNow func(ids []string) (map[string]V, error)

	mu      sync.Mutex
	free    int
	waiting []*readWish[V]
}

type readWish[V any] struct {
	ids  []string
	done chan struct{} // closed when got and err are set
	got  map[string]V
	err  error
}

func newReader[V any](atOnce int, readNow func(ids []string) (map[string]V, error)) *reader[V] {
	return &reader[V]{free: atOnce, readNow: readNow}
}

// read reads up to 100 ids. Those that do not exist are missing from the result, and there may
// be others in it.
func (r *reader[V]) read(ctx context.Context, ids []string) (map[string]V, error) {
	w := &readWish[V]{ids: ids, done: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	if r.free > 0 {
		r.free--
		go r.work()
	}
	r.mu.Unlock()
	select {
	case <-w.done:
		return w.got, w.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the reading goes on
	}
}

// work reads until no wish waits.
func (r *reader[V]) work() {
	for {
		wishes := r.pop()
		if len(wishes) == 0 {
			return
		}
		ids := make([]string, 0, apiclient.MaxDesktopsPerCall)
		for _, w := range wishes {
			ids = append(ids, w.ids...)
		}
		slices.Sort(ids)
		got, err := r.readNow(slices.Compact(ids))
		for _, w := range wishes {
			w.got, w.err = got, err
			close(w.done)
		}
	}
}

// pop returns the wishes of the next reading. If there are none the reader is free again.
func (r *reader[V]) pop() []*readWish[V] {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(r.waiting) && (n == 0 || size+len(r.waiting[n].ids) <= apiclient.MaxDesktopsPerCall) {
		size += len(r.waiting[n].ids)
		n++
	}
	if n == 0 {
		r.free++
		return nil
	}
	out := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	return out
}
