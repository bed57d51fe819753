package server

import (
	"context"
	"slices"
	"sync"
)

// Turns limits how many do the same at a time. A key gets at most half of the turns, and a
// turn that becomes free goes to the waiting key that has the fewest, so that no key can keep
// others from theirs.
type Turns struct {
	most int

	mu      sync.Mutex
	taken   int
	byKey   map[string]int
	waiting []*waiter // in the order of arrival
}

type waiter struct {
	key  string
	turn chan struct{} // closed when it has its turn
}

// NewTurns makes turns for at least two at a time.
func NewTurns(most int) *Turns { return &Turns{most: most, byKey: map[string]int{}} }

// Acquire waits for a turn of the key until ctx ends. release must be called once.
func (t *Turns) Acquire(ctx context.Context, key string) (release func(), err error) {
	t.mu.Lock()
	if t.free(key) {
		t.take(key)
		t.mu.Unlock()
		return t.releaser(key), nil
	}
	w := &waiter{key, make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case <-w.turn:
		return t.releaser(key), nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return nil, context.Cause(ctx)
	}
	return t.releaser(key), nil // it got its turn in the same moment
}

// try takes a turn of the key if one is free.
func (t *Turns) try(key string) (release func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.free(key) {
		return nil, false
	}
	t.take(key)
	return t.releaser(key), true
}

// free reports whether the key may have a turn now. A key that may never waits while a turn is free.
func (t *Turns) free(key string) bool { return t.taken < t.most && t.byKey[key] < t.most/2 }

func (t *Turns) take(key string) {
	t.taken++
	t.byKey[key]++
}

func (t *Turns) releaser(key string) func() {
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.taken--
		if t.byKey[key]--; t.byKey[key] == 0 {
			delete(t.byKey, key)
		}
		next := -1
		for i, w := range t.waiting {
			if t.free(w.key) && (next < 0 || t.byKey[w.key] < t.byKey[t.waiting[next].key]) {
				next = i
			}
		}
		if next >= 0 {
			w := t.waiting[next]
			t.waiting = slices.Delete(t.waiting, next, next+1)
			t.take(w.key)
			close(w.turn)
		}
	}
}
