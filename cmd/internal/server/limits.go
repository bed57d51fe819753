package server

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits bound how fast each key asks this process. nil bounds nothing.
type limits struct {
	perSecond int
	policy    string

	mu    sync.Mutex
	of    map[string]*rate.Limiter // by id of key
	sweep int                      // when there are so many
}

// burstSeconds is how many seconds' requests may come at once.
const burstSeconds = 2

func newLimits(perSecond int) *limits {
	if perSecond <= 0 {
		return nil
	}
	return &limits{
		perSecond: perSecond, policy: fmt.Sprintf(`"default";q=%d;w=%d`, perSecond*burstSeconds, burstSeconds),
		of: map[string]*rate.Limiter{}, sweep: 1000,
	}
}

// take counts a request of a key, and refuses it if it is one too many. What is left
// is in the answer's header, as draft-ietf-httpapi-ratelimit-headers-10 has it.
func (l *limits) take(h http.Header, key string, now time.Time) error {
	if l == nil {
		return nil
	}
	of := l.limiter(key, now)
	ok := of.AllowN(now, 1)
	left := max(0, of.TokensAt(now))
	whole := math.Ceil((float64(of.Burst()) - left) / float64(l.perSecond)) // seconds until all is there again
	h.Set("RateLimit-Policy", l.policy)
	if ok {
		h.Set("RateLimit", fmt.Sprintf(`"default";r=%.0f;t=%.0f`, math.Floor(left), whole))
		return nil
	}
	h.Set("RateLimit", `"default";r=0;t=1`)
	p := problem(http.StatusTooManyRequests, "rate_limited", "the key may send %d requests a second", l.perSecond)
	p.RetryAfter = time.Second
	return p
}

// limiter is a key's. Those that are whole again are as good as new, and forgotten
// when they are many; what stays is what was used within burstSeconds.
func (l *limits) limiter(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of, known := l.of[key]; known {
		return of
	}
	if len(l.of) >= l.sweep {
		for id, of := range l.of {
			if of.TokensAt(now) >= float64(of.Burst()) {
				delete(l.of, id)
			}
		}
		l.sweep = max(1000, 2*len(l.of))
	}
	of := rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond*burstSeconds)
	l.of[key] = of
	return of
}
