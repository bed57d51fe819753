package cli

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// demoPlan is what goes wrong in a demo, decided before it begins.
type demoPlan struct {
	projects map[string]string   // alias → project id in the fake cloud
	desktops map[string][]string // alias → desktop ids, as listed
	pooled   map[string]bool     // desktop ids; their detach gives job ids
	asleep   map[string]bool     // refused by the cloud as long as they sleep
	faults   []fakecloud.Fault
	fails    map[[2]string]string // alias and desktop → why it is going to fail
}

// trouble is what may befall one desktop. Those with a reason never recover.
type trouble struct {
	reason string
	befall func(plan *demoPlan, id string)
}

// troubles in the order in which desktops are drawn for them. Faults that let a
// call take effect come last: of those that match a call the first decides.
var troubles = []trouble{
	{"it spoils every call that names it", func(p *demoPlan, id string) { p.fault(fakecloud.Poison(id)) }},
	{"", func(p *demoPlan, id string) { p.fault(times(2, fakecloud.Conflict(id, true))) }},
	{"", func(p *demoPlan, id string) { p.fault(times(1, fakecloud.Conflict(id, false))) }},
	{"the cloud refuses it for good", noAddress},
	{"it sleeps, and retries are used up", func(p *demoPlan, id string) { p.asleep[id] = true }},
	{"", func(p *demoPlan, id string) {
		p.fault(times(2, fakecloud.Refused(id, "WKS.0005", "Failed to invoke ECS interface.")))
	}},
	{"the cloud refuses it for good", noAddress},
	{"", func(p *demoPlan, id string) {
		p.fault(fakecloud.Fault{Desktop: id, Times: 1, Effect: fakecloud.DropAfter})
	}},
}

func noAddress(p *demoPlan, id string) {
	p.fault(fakecloud.Refused(id, "WKS.00010110", "The desktop does not have a valid IP address."))
}

func times(n int, f fakecloud.Fault) fakecloud.Fault {
	f.Times = n
	return f
}

func (p *demoPlan) fault(f fakecloud.Fault) { p.faults = append(p.faults, f) }

// newDemoPlan draws from the list who has trouble; no more than one in four.
func newDemoPlan(list []leaver, seed uint64) *demoPlan {
	p := &demoPlan{
		projects: map[string]string{}, desktops: map[string][]string{}, pooled: map[string]bool{},
		asleep: map[string]bool{}, fails: map[[2]string]string{},
	}
	for _, x := range list {
		if p.projects[x.Project] == "" {
			p.projects[x.Project] = fmt.Sprintf("%032x", len(p.projects)+1)
		}
		p.desktops[x.Project] = append(p.desktops[x.Project], x.Desktop)
	}
	p.fault(fakecloud.Fault{
		Calls: []int{2, 6}, Status: http.StatusTooManyRequests, Code: "APIGW.0308", RetryAfter: time.Second,
	})
	p.fault(fakecloud.Fault{Calls: []int{4}, Status: http.StatusServiceUnavailable, Code: "WKS.00050902"})
	order := rand.New(rand.NewPCG(seed, seed)).Perm(len(list))
	for i, trouble := range troubles[:min(len(troubles), len(list)/4)] {
		x := list[order[i]]
		trouble.befall(p, x.Desktop)
		if trouble.reason != "" {
			p.fails[[2]string{x.Project, x.Desktop}] = trouble.reason
		}
	}
	p.fault(fakecloud.Fault{Calls: []int{3, 5, 7, 9}, Times: 2, Delay: time.Second})
	for _, n := range order[len(order)-len(order)/6:] {
		p.pooled[list[n].Desktop] = true
	}
	return p
}

// aliases gives the projects in a stable order.
func (p *demoPlan) aliases() []string {
	var out []string
	for alias := range p.projects {
		out = append(out, alias)
	}
	slices.Sort(out)
	return out
}

// stage puts desktops and faults into the cloud.
func (p *demoPlan) stage(cloud *fakecloud.Cloud) {
	for alias, ids := range p.desktops {
		for _, id := range ids {
			d := fakecloud.Desktop{ID: id}
			if p.pooled[id] {
				d.Type = fakecloud.Pooled
			}
			if p.asleep[id] {
				d.Status = fakecloud.Hibernated
			}
			cloud.Add(p.projects[alias], d)
		}
	}
	cloud.Fail(p.faults...)
}
