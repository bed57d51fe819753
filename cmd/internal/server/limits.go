package server

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits bound how many requests each key sends to this process. nil bounds nothing.
type limits struct {
	perSecond int
	policy    string

	mu    sync.Mutex
	of    map[string]*rate.Limiter // by id of key
	sweep int                      // number of limiters at which unused ones are dropped
}

// burstSeconds of requests may come at once.
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

// allow counts a request of a key, and refuses it if it exceeds the limit. The header tells
// what is left, as in draft-ietf-httpapi-ratelimit-headers-10.
func (l *limits) allow(h http.Header, key string, now time.Time) error {
	if l == nil {
		return nil
	}
	of := l.limiter(key, now)
	ok := of.AllowN(now, 1)
	left := max(0, of.TokensAt(now))
	whole := math.Ceil((float64(of.Burst()) - left) / float64(l.perSecond)) // seconds until the whole burst is available
	h.Set("RateLimit-Policy", l.policy)
	if ok {
		h.Set("RateLimit", fmt.Sprintf(`"default";r=%.0f;t=%.0f`, math.Floor(left), whole))
		return nil
	}
	h.Set("RateLimit", `"default";r=0;t=1`)
	p := problem(http.StatusTooManyRequests, "rate_limited",
		"the key's limit of %d requests a second is exceeded; nothing was changed: send it again after Retry-After", l.perSecond)
	p.RetryAfter = time.Second
	return p
}

// limiter is the limiter of a key. When there are many, those with the whole burst
// available are dropped: they equal new ones. Those used within burstSeconds stay.
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
