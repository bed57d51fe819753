package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// recheckInterval is how often a paused project is checked, so that resuming it
	// takes effect soon.
	recheckInterval = time.Second
	// authPause is the pause after the cloud refused the credentials or rights, before
	// one call tries again. It is long because IAM locks accounts after wrong passwords.
	authPause = 10 * time.Minute
	// foreignPause is the pause after something else than the API answered for the first time. It
	// doubles up to maxForeignPause with each further one: of several gateways one may be broken.
	foreignPause    = 5 * time.Second
	maxForeignPause = time.Minute
	// maxThrottlePause is the longest pause that a Retry-After can ask for.
	maxThrottlePause = 10 * time.Minute
	// downAfter is how many calls in a row must find the service down to pause the
	// project.
	downAfter = 5
	// deniedAfter is how many calls in a row, the last with a single desktop, must be
	// denied without naming a desktop to pause the project.
	deniedAfter = 8
)

// pauseFor pauses the project for a fault that all its requests would meet. It returns
// when to check the pause; 0: it is not paused.
func (s *shared) pauseFor(f fault) (recheck time.Duration) {
	switch f.class {
	case tasks.ClassThrottled:
		d := min(f.api.RetryAfter, maxThrottlePause)
		if d <= 0 {
			d = s.backoff(s.calls.throttled())
		}
		return s.pause(tasks.PauseThrottled, d, f.api)
	case tasks.ClassAuth, tasks.ClassPolicy:
		return s.pause(tasks.PauseAuth, authPause, f.api)
	case tasks.ClassNotAPI:
		return s.pause(tasks.PauseNotAPI, s.calls.foreign(time.Now()), f.api)
	case tasks.ClassTransient, tasks.ClassAmbiguous: // an outage must not use up the attempts of every desktop
		n := s.calls.bad()
		if d := min(f.api.RetryAfter, maxThrottlePause); d > 0 {
			return s.pause(tasks.PauseThrottled, d, f.api)
		}
		if n >= downAfter {
			return s.pause(tasks.PauseThrottled, s.backoff(n-downAfter+1), f.api)
		}
	}
	return 0
}

// pauseForReading is pauseFor for a fault of a reading.
func (s *shared) pauseForReading(f fault) (recheck time.Duration) {
	if f.class != tasks.ClassDenied {
		return s.pauseFor(f)
	}
	n := s.readings.denied()
	if n < deniedAfter {
		return 0
	}
	f.api.Message = fmt.Sprintf("%d readings in a row were refused "+
		"(does the IAM user have workspace:desktops:list and workspace:desktops:get?): %s", n, f.api.Message)
	return s.pause(tasks.PauseNoRight, authPause, f.api)
}

// pause pauses the project for all workers, and returns when to check the pause.
func (s *shared) pause(kind tasks.PauseKind, d time.Duration, e apiclient.Error) (recheck time.Duration) {
	reason := strings.TrimSpace(e.Code + " " + e.Message)
	if e.Status != 0 {
		reason = fmt.Sprintf("%d %s", e.Status, reason)
	}
	if e.Host != "" {
		reason += " (answered by " + e.Host + ")"
	}
	if err := s.record.PauseProject(s.inFlight, s.project.Alias, kind, d, reason); err != nil {
		s.log.Warn().Err(err).Msg("the project could not be paused for other workers")
	}
	if kind != tasks.PauseThrottled {
		s.log.Error().Str("kind", string(kind)).Str("code", e.Code).Int("status", e.Status).Str("host", e.Host).Dur("for", d).
			Msg("the project is paused because its cloud refuses every request: fix the cause, then run `detachd resume`")
	}
	return min(d, recheckInterval)
}

// paused returns how long the project stays paused at least, up to recheckInterval; 0: it is
// not paused. A pause that cannot be read counts as one.
func (s *shared) paused(ctx context.Context) time.Duration {
	p, err := s.record.ProjectPause(ctx, s.project.Alias)
	switch {
	case err == nil && p == nil:
		return 0
	case err != nil, p.Until.IsZero():
		return recheckInterval
	}
	return min(max(time.Until(p.Until), time.Millisecond), recheckInterval)
}

// recheckAfter returns when a batch that met a pause checks it again.
func recheckAfter(p *record.PausedError) time.Duration { return untilResumed(p, recheckInterval) }

// retryAfterPause returns when a task that met a pause runs again. Resuming the project
// must take effect soon, but there may be many such tasks.
func retryAfterPause(p *record.PausedError) time.Duration {
	return jitter(untilResumed(p, 5*time.Second))
}

func untilResumed(p *record.PausedError, longest time.Duration) time.Duration {
	if p.For > 0 {
		return min(p.For, longest)
	}
	return longest
}

// health counts how the calls, or the readings, of a project went. The view of one worker is
// enough, because the pause that it leads to is shared.
type health struct {
	mu         sync.Mutex
	down       int
	throttling int
	denials    int
	goodAt     time.Time // of the last 200

	foreignPauses int       // since then
	foreignUntil  time.Time // when the last of them is over
}

// good notes a 200.
func (h *health) good(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling, h.denials, h.foreignPauses, h.goodAt = 0, 0, 0, 0, now
}

// foreign notes that something else than the API answered, and returns for how long to pause. What
// was on its way when the pause began meets the same, and does not count again.
func (h *health) foreign(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if left := h.foreignUntil.Sub(now); h.foreignPauses > 0 && left > 0 {
		return left
	}
	d := min(foreignPause<<min(h.foreignPauses, 10), maxForeignPause)
	h.foreignPauses++
	h.foreignUntil = now.Add(d)
	return d
}

// answered notes a refusal: the service works.
func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.throttling = 0, 0
}

// bad, throttled and denied count a call that found the service down, was throttled, or was
// denied without naming a desktop. They return how many were so in a row.
func (h *health) bad() int       { return h.count(&h.down) }
func (h *health) throttled() int { return h.count(&h.throttling) }
func (h *health) denied() int    { return h.count(&h.denials) }

func (h *health) count(n *int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
	return *n
}

// goodSince reports whether there was a 200 after t.
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
