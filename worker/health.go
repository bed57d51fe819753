package worker

import (
	"sync"
	"time"
)

const (
	// downAfter is how many calls in a row must find the service down before the
	// project is paused.
	downAfter = 5
	// deniedAfter is how many calls in a row, of which the last names a single
	// desktop, must be refused without naming a desktop before that is taken for a
	// refusal of the whole project.
	deniedAfter = 8
)

// health counts, for one project, what calls or readings in a row met with. A
// worker's own view is enough: the pause it leads to is shared.
type health struct {
	mu         sync.Mutex
	down       int
	throttling int
	denials    int
	goodAt     time.Time // the last 200
}

// good: a call got a 200.
func (h *health) good(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling, h.denials, h.goodAt = 0, 0, 0, now
}

// answered: the service works, although it refused.
func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling = 0, 0
}

// bad counts a call that found the service down, and gives the number in a row.
func (h *health) bad() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down++
	return h.down
}

// throttled counts a throttled call, and gives the number in a row.
func (h *health) throttled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.throttling++
	return h.throttling
}

// denied counts a call that was refused without a desktop being named, and gives
// the number in a row.
func (h *health) denied() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.denials++
	return h.denials
}

// goodSince reports whether there was a 200 after a time.
func (h *health) goodSince(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.goodAt.After(t)
}

// isDown reports whether the last calls found the service down.
func (h *health) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down >= downAfter
}
