package fakecloud

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// Cloud is the stand-in, an http.Handler. All of its methods may be called at
// any time, from any goroutine. Make it with New.
type Cloud struct {
	cfg    Config
	faults faults

	mu       sync.Mutex
	projects map[string]*project
	calls    map[callKey]int
	inFlight int
	peak     int
	log      []*Request
	seq      int
	tokens   map[string]token
	bucket   bucket
	changed  chan struct{} // closed at the next change; nil: nobody waits
}

// callKey counts the calls of an op; of the whole cloud when project is empty.
type callKey struct {
	op      Op
	project string
}

// New returns a cloud without desktops and faults.
func New(cfg Config) *Cloud {
	cfg = cfg.withDefaults()
	c := &Cloud{
		cfg:      cfg,
		faults:   faults{seed: cfg.Seed, byDesktop: map[string][]*fault{}},
		projects: map[string]*project{},
		calls:    map[callKey]int{},
		tokens:   map[string]token{},
		bucket:   bucket{tokens: float64(cfg.RateBurst), at: cfg.Clock()},
	}
	for _, id := range cfg.Projects {
		c.openProject(id)
	}
	return c
}

// openProject returns a project, made if need be.
func (c *Cloud) openProject(id string) *project {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.projects[id]
	if p == nil {
		p = &project{
			id: id, autoCreate: c.cfg.AutoCreate, records: map[string]*record{},
			keep: !c.cfg.DiscardLog, readLag: c.cfg.ReadLag,
		}
		c.projects[id] = p
	}
	return p
}

// serves reports whether requests may name the project.
func (c *Cloud) serves(projectID string) bool {
	return len(c.cfg.Projects) == 0 || slices.Contains(c.cfg.Projects, projectID)
}

// ServeHTTP answers one request. The order is that of the real thing: gateway
// (authentication, throttling), faults, then the service itself.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := c.receive(w, r)
	if x.refused == nil && x.op == OpDetach {
		x.refused = x.throttle()
	}
	if x.refused != nil {
		x.answer(x.refused, false)
		return
	}
	f := c.faults.match(x.op, x.projectID, x.number, x.ids)
	x.pause(f.Delay)
	before, after := c.latency(x.op, x.number.cloud), time.Duration(0)
	if c.early(x.op, x.number.cloud) {
		before, after = after, before
	}
	x.pause(before)
	x.carryOut(f, after)
}
