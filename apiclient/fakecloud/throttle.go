package fakecloud

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// bucket is a token bucket of detach calls.
type bucket struct {
	tokens float64
	at     time.Time // of tokens
}

// allow removes a token, and reports whether there was one.
func (b *bucket) allow(now time.Time, rate float64, burst int) bool {
	if now.After(b.at) {
		b.tokens = min(float64(burst), b.tokens+now.Sub(b.at).Seconds()*rate)
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// throttle returns the reply to a detach call above the rate limit; nil: it is below.
func (x *exchange) throttle() *reply {
	c := x.Cloud
	if c.cfg.RateLimit <= 0 {
		return nil
	}
	now := c.cfg.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bucket.allow(now, c.cfg.RateLimit, c.cfg.RateBurst) {
		return nil
	}
	return fail(http.StatusTooManyRequests, "APIGW.0308", fmt.Sprintf(throttled, c.cfg.RateLimit)).withRetryAfter(c.cfg.RetryAfter)
}

// latency returns how long the n-th request of an op takes.
func (c *Cloud) latency(op Op, n int) time.Duration {
	if op == OpToken {
		return 0
	}
	if !op.writes() {
		return c.cfg.ReadLatency
	}
	d := c.cfg.Latency
	if c.cfg.Jitter > 0 {
		d += time.Duration(mix(mix(c.cfg.Seed)+uint64(n)) % uint64(c.cfg.Jitter))
	}
	return d
}

// early reports whether the n-th request of an op takes effect before its latency.
func (c *Cloud) early(op Op, n int) bool {
	// The seed is inverted to make early independent of latency.
	return op.writes() && float64(mix(mix(^c.cfg.Seed)+uint64(n))) < c.cfg.EarlyEffects*math.MaxUint64
}
