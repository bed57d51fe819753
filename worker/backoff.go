package worker

import (
	"math/rand/v2"
	"time"
)

// backoff is exponential with full jitter: attempt 1 waits up to 2*base. It is at least
// base/2, so that a burst of retries cannot spin.
func backoff(base, longest time.Duration, attempt int) time.Duration {
	d := longest
	if attempt < 32 && base<<attempt < longest && base<<attempt > 0 {
		d = base << attempt
	}
	return max(base/2, rand.N(d))
}

// jitter spreads d over d to 1.5 d.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/2+1) }
