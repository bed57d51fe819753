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

// demoPlan is what goes wrong in a demo, decided before it begins.
type demoPlan struct {
	projects map[string]string      // alias → project id in the fake cloud
	requests []api.OperationRequest // what the list says, one for each project
	users    map[string][]string    // desktop → whose it is: those whom the list names
	pooled   map[string]bool        // desktop ids; their detach gives job ids
	scene    *scene
	asleep   map[string]bool   // refused by the cloud as long as they sleep
	ends     map[string]string // how the first detach of a desktop ends, where not well
	faults   []fakecloud.Fault
	fails    map[[2]string]string // alias and desktop → why it is going to fail

	// guarded are desktops of the project that comes first, where it matters whose
	// they are; people is the request about them.
	guarded []fakecloud.Desktop
	people  tasks.Request
	known   []fakecloud.Person   // who have no desktop
	holds   map[[2]string]string // alias and desktop → why it is going to be held
	keeps   map[string]string    // desktop → the colleague who must keep it
}

// trouble is what may befall one desktop. Those with a reason fail, or are held.
type trouble struct {
	reason string
	held   bool
	befall func(plan *demoPlan, id string)
}

// troubles in the order in which desktops are drawn for them. Faults that let a
// call take effect come last: of those that match a call the first decides.
var troubles = []trouble{
	{"it spoils every call that names it", false, func(p *demoPlan, id string) { p.fault(fakecloud.Poison(id)) }},
	{"", false, func(p *demoPlan, id string) { p.fault(times(2, fakecloud.Conflict(id, true))) }},
	{"", false, func(p *demoPlan, id string) { p.fault(times(1, fakecloud.Conflict(id, false))) }},
	{"the cloud refuses it for good", false, noAddress},
	{"it sleeps, which is read before anything is sent", true, func(p *demoPlan, id string) { p.asleep[id] = true }},
	{"", false, func(p *demoPlan, id string) {
		p.fault(times(2, fakecloud.Refused(id, "WKS.0005", "Failed to invoke ECS interface.")))
	}},
	{"the cloud refuses it for good", false, noAddress},
	{"", false, func(p *demoPlan, id string) {
		p.fault(fakecloud.Fault{Desktop: id, Times: 1, Effect: fakecloud.DropAfter})
	}},
	{"", false, func(p *demoPlan, id string) { p.ends[id] = fakecloud.DetachRepeatable }},
	{"the cloud takes it, and never comes to an end", false, func(p *demoPlan, id string) { p.ends[id] = fakecloud.Detaching }},
}

func noAddress(p *demoPlan, id string) {
	p.fault(fakecloud.Refused(id, "WKS.00010110", "The desktop does not have a valid IP address."))
}

func times(n int, f fakecloud.Fault) fakecloud.Fault {
	f.Times = n
	return f
}

func (p *demoPlan) fault(f fakecloud.Fault) { p.faults = append(p.faults, f) }

// newDemoPlan draws from the list, all of whose rows name desktops, who has trouble; no
// more than one in four.
func newDemoPlan(requests []api.OperationRequest, seed uint64) *demoPlan {
	p := &demoPlan{
		projects: map[string]string{}, requests: requests, users: map[string][]string{}, scene: newScene(), pooled: map[string]bool{},
		asleep: map[string]bool{}, ends: map[string]string{}, fails: map[[2]string]string{},
		holds: map[[2]string]string{}, keeps: map[string]string{},
	}
	var list [][2]string // project and desktop
	for i, r := range requests {
		p.projects[r.Project] = fmt.Sprintf("%032x", i+1)
		for _, id := range r.Desktops {
			list = append(list, [2]string{r.Project, id})
			p.users[id] = r.ExpectedUsers[id]
			p.scene.add(r.Project, id, r.ExpectedUsers[id]...)
		}
	}
	p.fault(fakecloud.Fault{
		Calls: []int{2, 6}, Status: http.StatusTooManyRequests, Code: "APIGW.0308", RetryAfter: time.Second,
	})
	p.fault(fakecloud.Fault{Calls: []int{4}, Status: http.StatusServiceUnavailable, Code: "WKS.00050902"})
	order := rand.New(rand.NewPCG(seed, seed)).Perm(len(list))
	for i, trouble := range troubles[:min(len(troubles), len(list)/4)] {
		key := list[order[i]]
		trouble.befall(p, key[1])
		if trouble.held {
			p.holds[key] = trouble.reason
		} else if trouble.reason != "" {
			p.fails[key] = trouble.reason
		}
	}
	p.fault(fakecloud.Fault{Calls: []int{3, 5, 7, 9}, Times: 2, Delay: time.Second})
	for _, n := range order[len(order)-len(order)/6:] {
		p.pooled[list[n][1]] = true
	}
	aliases := slices.Sorted(maps.Keys(p.projects))
	p.guard(aliases[0])
	return p
}

// guard makes up people: leavers whose desktops are not all theirs alone, or not
// theirs any more.
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
	p.people = tasks.Request{
		Project: alias, RequestedBy: "demo", Reason: "leavers of the demo, by name", Ticket: "HR-4711",
		Desktops: []string{"guard-own", "guard-passed-on", "guard-team", "guard-crowd", "guard-asleep", "guard-nowhere"},
		Expect: map[string][]string{
			"guard-own": {leaver}, "guard-passed-on": {leaver}, "guard-team": {leaver}, "guard-asleep": {leaver},
			tasks.ComputerRow("PC-KIM"): {"kim.leaver"}, tasks.ComputerRow("PC-LEO"): {"leo.leaver"},
		},
		Users:     []string{"ravi.leaver", "nora.leaver", "Ravi.Leaver2@example.com", "typo.laever"},
		Computers: []string{"PC-KIM", "PC-LEO", "PC-NOWHERE"},
	}
	p.holds[[2]string{alias, "guard-passed-on"}] = "somebody else has it by now"
	p.holds[[2]string{alias, "guard-crowd"}] = "two are on it, and no leaver was named"
	p.holds[[2]string{alias, "guard-asleep"}] = "it sleeps, which is read before anything is sent"
	p.holds[[2]string{alias, "guard-nowhere"}] = "the cloud never had such a desktop"
	p.holds[[2]string{alias, "found-computer-of-heir"}] = "somebody else has that computer by now"
	p.holds[[2]string{alias, tasks.UserRow("Ravi.Leaver2@example.com")}] = "nobody has exactly that name, and somebody a similar one"
	p.holds[[2]string{alias, tasks.UserRow("typo.laever")}] = "Workspace knows nobody of that name"
	p.holds[[2]string{alias, tasks.ComputerRow("PC-NOWHERE")}] = "no computer has that name"
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
	cloud.Add(p.projects[p.people.Project], p.guarded...)
	cloud.AddPeople(p.projects[p.people.Project], p.known...)
	cloud.Fail(p.faults...)
}
