package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// aheadAge is the age up to which a reading is used for estimates: reading many open
// operations takes long.
const aheadAge = 5 * time.Second

// aheadCache is the last reading of what estimates depend on.
type aheadCache struct {
	mu      sync.Mutex
	at      time.Time
	backlog []tasks.Backlog
	serving record.Serving
	paused  map[string]*tasks.Pause
}

// read reads what is out of date. After an error the last reading is used.
func (c *aheadCache) read(ctx context.Context, s *server, now time.Time) {
	if !c.at.IsZero() && now.Sub(c.at) < aheadAge {
		return
	}
	c.at = now
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	backlog, err := s.record.Backlog(ctx, now)
	if err != nil {
		return
	}
	serving, err := s.record.Serving(ctx)
	if err != nil {
		return
	}
	paused, err := s.record.ProjectPauses(ctx, s.Store.Projects...)
	if err != nil {
		return
	}
	c.backlog, c.serving, c.paused = backlog, serving, paused
}

// estimate sets the estimate of an operation. It counts only what the key sees, so for a key
// that is bound to projects it is a lower bound.
func (s *server) estimate(r *request, op *tasks.Operation) {
	if op.Counts.Queued == 0 {
		return
	}
	now := s.Now()
	c := &s.ahead
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read(r.Context(), s, now)
	if c.paused == nil { // nothing could be read
		return
	}
	budget := tasks.Budget{Pause: c.paused[op.Project], Workers: c.serving.Of(op.Project)}
	limits := s.Store.Limits()
	credential := ""
	for _, p := range limits {
		if p.Alias == op.Project {
			credential = p.Credential.Name
			budget.CallsPerMinute, budget.ReadsPerMinute = p.Credential.CallsPerMinute, p.Credential.ReadsPerMinute
		}
	}
	var shares []string // projects that share the credential and send
	for _, p := range limits {
		if p.Credential.Name == credential && r.maySee(p.Alias) && (c.paused[p.Alias] == nil || c.paused[p.Alias].Kind == tasks.PauseThrottled) {
			shares = append(shares, p.Alias)
		}
	}
	backlog := make([]tasks.Backlog, 0, len(c.backlog))
	for _, x := range c.backlog {
		if x.Project == op.Project || slices.Contains(shares, x.Project) {
			backlog = append(backlog, x)
		}
	}
	op.Estimate = tasks.EstimateOf(*op, now, budget, backlog)
}
