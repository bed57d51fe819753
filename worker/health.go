package worker

import "sync"

// downAfter is how many calls in a row must find the service down before the
// project is paused.
const downAfter = 5

// health counts, for one project, calls in a row that found the service down or
// were throttled. A worker's own view is enough: the pause it leads to is
// shared.
type health struct {
	mu         sync.Mutex
	down       int
	throttling int
}

// good: the service did what a service does.
func (h *health) good() {
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

// isDown reports whether the last calls found the service down.
func (h *health) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down >= downAfter
}
