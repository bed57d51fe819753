package server

import (
	"context"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// aheadAge is the age from which a reading is renewed. It takes about 120 ms with 10,000
	// open operations.
	aheadAge = 5 * time.Second
	// aheadOldest is the age up to which requests use a reading meanwhile.
	aheadOldest = time.Minute
	// aheadPatience limits a reading.
	aheadPatience = time.Second
)

// ahead is a reading of what estimates depend on.
type ahead struct {
	at      time.Time
	lines   map[string]tasks.Line // by project
	serving record.Serving
	paused  map[string]*tasks.Pause
}

// aheadCache has the last reading. One that is too old is renewed beside the request that
// finds it, which does not wait.
type aheadCache struct {
	mu       sync.Mutex
	last     *ahead        // nil: none
	tried    time.Time     // when the last one began
	renewing chan struct{} // closed at its end
}

// read returns a reading; nil: there is none.
func (c *aheadCache) read(ctx context.Context, s *server) *ahead {
	c.mu.Lock()
	now := s.Now()
	if c.renewing == nil && now.Sub(c.tried) >= aheadAge {
		c.tried, c.renewing = now, make(chan struct{})
		go c.renew(context.WithoutCancel(ctx), s, now)
	}
	last, renewing := c.last, c.renewing
	c.mu.Unlock()
	if renewing == nil || last != nil && now.Sub(last.at) < aheadOldest {
		return last
	}
	select {
	case <-renewing:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// renew reads. After an error the last reading stays.
func (c *aheadCache) renew(ctx context.Context, s *server, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, aheadPatience)
	defer cancel()
	next, err := s.readAhead(ctx, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = next
	}
	close(c.renewing)
	c.renewing = nil
}

func (s *server) readAhead(ctx context.Context, now time.Time) (*ahead, error) {
	backlog, err := s.record.Backlog(ctx, now)
	if err != nil {
		return nil, err
	}
	serving, err := s.record.Serving(ctx)
	if err != nil {
		return nil, err
	}
	paused, err := s.record.ProjectPauses(ctx, s.Store.Projects...)
	if err != nil {
		return nil, err
	}
	return &ahead{at: now, lines: tasks.LinesOf(backlog), serving: serving, paused: paused}, nil
}

// estimate sets the estimate of an operation. It counts only what the key sees, so for a key
// that is bound to projects it is a lower bound.
func (s *server) estimate(r *request, op *tasks.Operation) {
	if op.Counts.Queued == 0 {
		return
	}
	a := s.ahead.read(r.Context(), s)
	if a == nil {
		return
	}
	budget := tasks.Budget{Pause: a.paused[op.Project], Workers: a.serving.Of(op.Project)}
	limits := s.Store.Limits()
	credential := ""
	for _, p := range limits {
		if p.Alias == op.Project {
			credential = p.Credential.Name
			budget.Blackout = p.Blackouts.At(s.Now())
			budget.CallsPerMinute, budget.ReadsPerMinute = p.Credential.CallsPerMinute, p.Credential.ReadsPerMinute
		}
	}
	lines := []tasks.Line{a.lines[op.Project]}
	for _, p := range limits { // that share the credential, and send
		if p.Alias != op.Project && p.Credential.Name == credential && r.maySee(p.Alias) &&
			(a.paused[p.Alias] == nil || a.paused[p.Alias].Kind == tasks.PauseThrottled) {
			lines = append(lines, a.lines[p.Alias])
		}
	}
	op.Estimate = tasks.EstimateOf(*op, s.Now(), budget, lines...)
}
