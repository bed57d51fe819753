package fakecloud

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Request is an entry of the log.
type Request struct {
	Seq        int       // from 1, in the order of arrival
	Time       time.Time // of arrival, by Config.Clock
	RequestID  string    // X-Request-Id of the reply
	Op         Op        // empty: no such API
	Method     string
	Path       string // unescaped
	Query      string // as sent
	Project    string
	DesktopIDs []string // in the request
	Shutoff    *bool    // shutoff_after_detach; nil: absent
	Auth       string   // AuthNone, AuthToken or AuthSignature
	// Header has User-Agent, Content-Type, X-Language, X-Project-Id, X-Sdk-Date and
	// Traceparent, if they were sent.
	Header http.Header
	// Body is the body as sent; empty for OpToken, where it contains a password.
	Body   string
	Status int  // of the reply; 0: no reply, or not yet
	Effect bool // a desktop was accepted, or a token issued
}

func (x *exchange) logEntry(seq int) *Request {
	entry := &Request{
		Seq: seq, Time: x.cfg.Clock(), RequestID: x.requestID, Op: x.op,
		Method: x.r.Method, Path: x.r.URL.Path, Query: x.r.URL.RawQuery,
		Project: x.projectID, DesktopIDs: x.ids, Shutoff: x.detach.shutoff,
		Auth: authKind(x.r), Header: http.Header{},
	}
	for _, name := range []string{"User-Agent", "Content-Type", "X-Language", "X-Project-Id", "X-Sdk-Date", "Traceparent", "Tracestate"} {
		if values := x.r.Header.Values(name); len(values) > 0 {
			entry.Header[name] = slices.Clone(values)
		}
	}
	if x.op != OpToken {
		entry.Body = string(x.body)
	}
	return entry
}

// count numbers a call. c.mu is held.
func (c *Cloud) count(op Op, projectID string) callNumber {
	c.calls[callKey{op: op}]++
	n := callNumber{cloud: c.calls[callKey{op: op}]}
	if projectID != "" {
		c.calls[callKey{op, projectID}]++
		n.project = c.calls[callKey{op, projectID}]
	}
	return n
}

// Requests returns the log, in the order of arrival.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Request, len(c.log))
	for i, entry := range c.log {
		all[i] = *entry
	}
	return all
}

// Calls returns how many detach calls have arrived, whatever their outcome.
func (c *Cloud) Calls() int { return c.CallsOf(OpDetach, "") }

// CallsOf returns how many calls of one kind have arrived for a project, or for all
// projects if projectID is empty.
func (c *Cloud) CallsOf(op Op, projectID string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[callKey{op, projectID}]
}

// MaxInFlight returns the maximum number of simultaneous detach calls. A call that hangs is
// not counted.
func (c *Cloud) MaxInFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak
}

// DetachedTimes returns how often a detach of the desktop was accepted, including those
// without effect.
func (c *Cloud) DetachedTimes(projectID, id string) int {
	return c.count32(projectID, id, func(rec *record) int32 { return rec.accepted })
}

func (c *Cloud) count32(projectID, id string, of func(*record) int32) int {
	p := c.openProject(projectID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if rec := p.records[id]; rec != nil {
		return int(of(rec))
	}
	return 0
}

// Removal is the loss of a desktop by a user through a detach call.
type Removal struct {
	DesktopID string
	User      User
	Time      time.Time // of the effect, by Config.Clock
	RequestID string    // of the call
}

// Removals returns who really lost which desktop of a project by which call, whatever the
// replies said, in the order in which the effects were computed.
func (c *Cloud) Removals(projectID string) []Removal {
	return settled(c, projectID, func(p *project) []Removal { return p.removed })
}

// settled clones a list of a project once all effects are computed that are due.
func settled[T any](c *Cloud, projectID string, list func(*project) []T) []T {
	p := c.openProject(projectID)
	now := c.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range p.order {
		p.settle(rec, now)
	}
	return slices.Clone(list(p))
}

// DetachedInVain returns how often a detach of the desktop was accepted although it had no
// user.
func (c *Cloud) DetachedInVain(projectID, id string) int {
	return c.count32(projectID, id, func(rec *record) int32 { return rec.vain })
}

// Reads returns how often the desktop was read by its id.
func (c *Cloud) Reads(projectID, id string) int {
	return c.count32(projectID, id, func(rec *record) int32 { return rec.reads })
}

// InTwoCallsAtOnce returns, sorted, the desktops that were in two overlapping detach calls
// of their project.
func (c *Cloud) InTwoCallsAtOnce() []string {
	c.mu.Lock()
	var projects []*project
	for _, p := range c.projects {
		projects = append(projects, p)
	}
	c.mu.Unlock()
	var all []string
	for _, p := range projects {
		p.mu.Lock()
		all = append(all, p.overlap...)
		p.mu.Unlock()
	}
	slices.Sort(all)
	return all
}

// Wait returns nil when cond returns true, or the cause of ctx's end. It calls cond at once,
// and again whenever a request has arrived or ended; it does not call cond because time
// passes.
func (c *Cloud) Wait(ctx context.Context, cond func() bool) error {
	for {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// notify wakes all Waits. c.mu is held.
func (c *Cloud) notify() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}
