package fakecloud

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// Cloud is the fake cloud, an http.Handler. It is safe for concurrent use. Create it with
// New, or with Serve to have it listen.
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
	changed  chan struct{} // closed at the next change; nil: no Wait is running
}

// callKey identifies a count of calls; an empty project is the whole cloud.
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

// openProject returns a project and creates it if necessary.
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

// serves reports whether the project exists for requests.
func (c *Cloud) serves(projectID string) bool {
	return len(c.cfg.Projects) == 0 || slices.Contains(c.cfg.Projects, projectID)
}

// ServeHTTP answers one request, in the order of the real cloud: gateway (authentication,
// throttling), faults, then the service.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := c.receive(w, r)
	if x.refused == nil && x.op.writes() {
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
