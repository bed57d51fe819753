package record

import (
	"sync"
	"time"
)

// Clock is the time of Redis, plus what has passed since it was read by the clock of the
// machine that nobody sets. It is behind by what the reply took, so nothing is early.
type Clock struct {
	mu    sync.Mutex
	redis time.Time // zero: never read
	at    time.Time // when, with a monotonic reading
}

// Set sets the clock to a time of Redis that has just been read.
func (c *Clock) Set(redis time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redis, c.at = redis, time.Now()
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.redis.Add(time.Since(c.at))
}
