package cli

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// demoPlan is what goes wrong in a demo, decided before the start.
type demoPlan struct {
	projects map[string]string      // alias → project id in the fake cloud
	requests []api.OperationRequest // of the list, one for each project
	pooled   map[string]bool        // desktop ids; their detach gives job ids
	scene    *scene
	asleep   map[string]bool   // desktop ids; the cloud refuses them while they are hibernated
	ends     map[string]string // desktop → end of its first detach, unless it is a success
	faults   []fakecloud.Fault
	fails    map[desktopKey]string // planned failures and their reasons

	// guarded are desktops of the first project whose users matter; byName is the
	// request about them.
	guarded []fakecloud.Desktop
	byName  tasks.Request
	known   []fakecloud.Person    // users without a desktop
	holds   map[desktopKey]string // planned holds and their reasons
	keeps   map[string]string     // desktop → the colleague who must keep it
}

// demoFault is a fault of one desktop. With a reason, the desktop fails or is put on
// hold.
type demoFault struct {
	reason string
	held   bool
	apply  func(plan *demoPlan, id string)
}

// demoFaults are in the order in which desktops are drawn for them. Faults that let a
// call take effect come last: the first that matches a call decides.
var demoFaults = []demoFault{
	{"every call that names it fails", false, func(p *demoPlan, id string) { p.fault(fakecloud.Poison(id)) }},
	{"", false, func(p *demoPlan, id string) { p.fault(times(2, fakecloud.Conflict(id, true))) }},
	{"", false, func(p *demoPlan, id string) { p.fault(times(1, fakecloud.Conflict(id, false))) }},
	{"the cloud always refuses it", false, noAddress},
	{"it is hibernated, which is read before it is sent", true, func(p *demoPlan, id string) { p.asleep[id] = true }},
	{"", false, func(p *demoPlan, id string) {
		p.fault(times(2, fakecloud.Refused(id, "WKS.0005", "Failed to invoke ECS interface.")))
	}},
	{"the cloud always refuses it", false, noAddress},
	{"", false, func(p *demoPlan, id string) {
		p.fault(fakecloud.Fault{Desktop: id, Times: 1, Effect: fakecloud.DropAfter})
	}},
	{"", false, func(p *demoPlan, id string) { p.ends[id] = fakecloud.DetachRepeatable }},
	{"the cloud accepts it and never finishes", false, func(p *demoPlan, id string) { p.ends[id] = fakecloud.Detaching }},
}

func noAddress(p *demoPlan, id string) {
	p.fault(fakecloud.Refused(id, "WKS.00010110", "The desktop does not have a valid IP address."))
}

func times(n int, f fakecloud.Fault) fakecloud.Fault {
	f.Times = n
	return f
}

func (p *demoPlan) fault(f fakecloud.Fault) { p.faults = append(p.faults, f) }

// newDemoPlan draws desktops with faults from the list, at most one in four. All rows
// name desktops.
func newDemoPlan(requests []api.OperationRequest, seed uint64) *demoPlan {
	p := &demoPlan{
		projects: map[string]string{}, requests: requests, scene: newScene(), pooled: map[string]bool{},
		asleep: map[string]bool{}, ends: map[string]string{}, fails: map[desktopKey]string{},
		holds: map[desktopKey]string{}, keeps: map[string]string{},
	}
	var list []desktopKey
	for i, r := range requests {
		p.projects[r.Project] = fmt.Sprintf("%032x", i+1)
		for _, id := range r.Desktops {
			list = append(list, desktopKey{r.Project, id})
			p.scene.add(r.Project, id, r.ExpectedUsers[id]...)
		}
	}
	p.fault(fakecloud.Fault{
		Calls: []int{2, 6}, Status: http.StatusTooManyRequests, Code: "APIGW.0308", RetryAfter: time.Second,
	})
	p.fault(fakecloud.Fault{Calls: []int{4}, Status: http.StatusServiceUnavailable, Code: "WKS.00050902"})
	order := rand.New(rand.NewPCG(seed, seed)).Perm(len(list))
	for i, fault := range demoFaults[:min(len(demoFaults), len(list)/4)] {
		key := list[order[i]]
		fault.apply(p, key.desktop)
		if fault.held {
			p.holds[key] = fault.reason
		} else if fault.reason != "" {
			p.fails[key] = fault.reason
		}
	}
	p.fault(fakecloud.Fault{Calls: []int{3, 5, 7, 9}, Times: 2, Delay: time.Second})
	for _, n := range order[len(order)-len(order)/6:] {
		p.pooled[list[n].desktop] = true
	}
	aliases := slices.Sorted(maps.Keys(p.projects))
	p.guard(aliases[0])
	return p
}

// guard adds leavers who share desktops with others, or no longer have them.
func (p *demoPlan) guard(alias string) {
	const leaver, colleague = "mia.leaver", "col.league"
	on := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	p.guarded = []fakecloud.Desktop{
		{ID: "guard-own", Users: on(leaver)},
		{ID: "guard-passed-on", Users: on("tom.heir")},
		{ID: "guard-team", Type: fakecloud.Shared, Users: on(leaver, colleague)},
		{ID: "guard-crowd", Type: fakecloud.Shared, Users: on("ann.other", colleague)},
		{ID: "guard-asleep", Status: fakecloud.Hibernated, Users: on(leaver)},
		{ID: "found-own", Users: on("ravi.leaver")},
		{ID: "found-team", Type: fakecloud.Shared, Users: on("ravi.leaver", colleague)},
		{ID: "found-namesake", Users: on("ravi.leaver2")},
		{ID: "found-computer", ComputerName: "PC-KIM", Users: on("kim.leaver")},
		{ID: "found-computer-of-heir", ComputerName: "PC-LEO", Users: on("tom.heir")},
	}
	p.known = []fakecloud.Person{{Name: "nora.leaver"}}
	p.byName = tasks.Request{
		Project: alias, RequestedBy: "demo", Reason: "leavers of the demo, by name", Ticket: "HR-4711",
		Desktops: []string{"guard-own", "guard-passed-on", "guard-team", "guard-crowd", "guard-asleep", "guard-nowhere"},
		Expect: map[string][]string{
			"guard-own": {leaver}, "guard-passed-on": {leaver}, "guard-team": {leaver}, "guard-asleep": {leaver},
			tasks.ComputerRow("PC-KIM"): {"kim.leaver"}, tasks.ComputerRow("PC-LEO"): {"leo.leaver"},
		},
		Users:     []string{"ravi.leaver", "nora.leaver", "Ravi.Leaver2@example.com", "typo.laever"},
		Computers: []string{"PC-KIM", "PC-LEO", "PC-NOWHERE"},
	}
	for id, reason := range map[string]string{
		"guard-passed-on":        "it belongs to somebody else by now",
		"guard-crowd":            "it has two users, and no leaver was named",
		"guard-asleep":           "it is hibernated, which is read before it is sent",
		"guard-nowhere":          "the cloud never had this desktop",
		"found-computer-of-heir": "the computer belongs to somebody else by now",
		tasks.UserRow("Ravi.Leaver2@example.com"): "no user has exactly this name, but one has a similar name",
		tasks.UserRow("typo.laever"):              "Workspace does not know this user",
		tasks.ComputerRow("PC-NOWHERE"):           "no computer has this name",
	} {
		p.holds[desktopKey{alias, id}] = reason
	}
	p.keeps["found-computer-of-heir"] = "tom.heir"
	p.keeps["guard-team"], p.keeps["found-team"] = colleague, colleague
	p.keeps["guard-passed-on"], p.keeps["found-namesake"] = "tom.heir", "ravi.leaver2"
	p.keeps["guard-crowd"] = colleague
}

// stage puts desktops and faults into the cloud.
func (p *demoPlan) stage(cloud *fakecloud.Cloud) {
	for _, desktops := range p.scene.desktops {
		for i := range desktops {
			d := &desktops[i]
			if p.pooled[d.ID] && d.Type != fakecloud.Shared {
				d.Type = fakecloud.Pooled
			}
			if p.asleep[d.ID] {
				d.Status = fakecloud.Hibernated
			}
			if end := p.ends[d.ID]; end != "" {
				d.DetachEnds = []string{end}
			}
		}
	}
	p.scene.stage(cloud, p.projects)
	cloud.Add(p.projects[p.byName.Project], p.guarded...)
	cloud.AddPeople(p.projects[p.byName.Project], p.known...)
	cloud.Fail(p.faults...)
}
