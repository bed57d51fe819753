package schedules

import (
	"sync"
	"time"
)

// clock is the time of Redis, plus what has passed since it was read by the clock of the
// machine that nobody sets. It is behind by what the reply took, so nothing is early.
type clock struct {
	mu    sync.Mutex
	redis time.Time // zero: never read
	at    time.Time // when, with a monotonic reading
}

func (c *clock) set(redis time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redis, c.at = redis, time.Now()
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.redis.Add(time.Since(c.at))
}
