package worker

import (
	"sync"
	"time"
)

const (
	// downAfter is how many calls in a row must find the service down to pause the
	// project.
	downAfter = 5
	// deniedAfter is how many calls in a row, the last with a single desktop, must be
	// denied without naming a desktop to pause the project.
	deniedAfter = 8
)

// health counts how the calls, or the readings, of a project went. The view of one worker is
// enough, because the pause that it leads to is shared.
type health struct {
	mu         sync.Mutex
	down       int
	throttling int
	denials    int
	goodAt     time.Time // the last 200
}

// good notes a 200.
func (h *health) good(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling, h.denials, h.goodAt = 0, 0, 0, now
}

// answered notes a refusal: the service works.
func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling = 0, 0
}

// bad counts a call that found the service down, and returns how many did in a row.
func (h *health) bad() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down++
	return h.down
}

// throttled counts a throttled call, and returns how many were in a row.
func (h *health) throttled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.throttling++
	return h.throttling
}

// denied counts a call that was denied without naming a desktop, and returns how many were in
// a row.
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
