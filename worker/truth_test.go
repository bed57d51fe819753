package worker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// scenario is a random fleet, a random cloud, and what happens to them, all drawn before it
// begins. A seed always draws the same; the order in which things then happen varies.
type scenario struct {
	setup fakecloud.Config
	fleet []fakecloud.Desktop
	ghost []string // ids of desktops that do not exist in the project
	acts  [2][]step
	heirs map[int]string // by place in the fleet: who gets which between the acts
	names map[int]string // by place in the fleet: whose computer is renamed between the acts, and to what
}

// step is one thing that is done while the workers work, after some requests
// have gone by.
type step struct {
	after  int
	kind   string
	req    tasks.Request
	faults []fakecloud.Fault
	held   bool
}

func person(n int) string { return "person-" + strconv.Itoa(n) }

// Of the people, those up to knownPeople are known to Workspace.
const knownPeople = 50

func computer(n int) string { return fmt.Sprintf("WS-%03d", n) }

// elsewhere is another project, whose ids mean nothing in this one.
const elsewhere = "00000000000000000000000000000002"

var scenarios = rapid.Custom(func(t *rapid.T) scenario {
	s := scenario{heirs: map[int]string{}, names: map[int]string{}, setup: fakecloud.Config{
		DetachDelay:    time.Duration(rapid.SampledFrom([]int{0, 0, 20, 150}).Draw(t, "delay")) * time.Millisecond,
		JobLag:         time.Duration(rapid.SampledFrom([]int{0, 0, 80}).Draw(t, "job lag")) * time.Millisecond,
		MaxPage:        rapid.SampledFrom([]int{0, 0, 7}).Draw(t, "page"),
		FuzzyUserNames: rapid.Bool().Draw(t, "fuzzy"),
		SuccessJobIDs:  rapid.Bool().Draw(t, "job ids"),
	}}
	size := rapid.IntRange(5, 130).Draw(t, "fleet")
	for i := range size {
		s.fleet = append(s.fleet, drawDesktop(t, i))
	}
	s.ghost = []string{"ghost-1", "elsewhere-1", computer(1)}
	if oneIn(t, 3, "omit") { // one list each that leaves it out; two would be believed
		for _, d := range s.fleet[:5] {
			s.acts[0] = append(s.acts[0], step{kind: "faults", faults: []fakecloud.Fault{{Op: fakecloud.OpDetail, Desktop: d.ID, Omit: true, Times: 1}}})
		}
	}
	for act := range s.acts {
		for range rapid.IntRange(2, 9).Draw(t, "steps") {
			s.acts[act] = append(s.acts[act], s.drawStep(t))
		}
	}
	for i := range size {
		if rapid.IntRange(0, 5).Draw(t, "reassigned") == 0 {
			s.heirs[i] = person(rapid.IntRange(0, 40).Draw(t, "heir"))
		}
		if rapid.IntRange(0, 7).Draw(t, "renamed") == 0 {
			s.names[i] = computer(rapid.IntRange(0, size+20).Draw(t, "new name"))
		}
	}
	return s
})

func oneIn(t *rapid.T, n int, what string) bool { return rapid.IntRange(1, n).Draw(t, what) == 1 }

func drawDesktop(t *rapid.T, i int) fakecloud.Desktop {
	d := fakecloud.Desktop{ID: fmt.Sprintf("d-%03d", i), ComputerName: computer(i), Users: users(person(i % 40))}
	if oneIn(t, 15, "twice the name") {
		d.ComputerName = computer(i + 1)
	}
	switch rapid.IntRange(0, 9).Draw(t, "type") {
	case 0, 1:
		d.Type = fakecloud.Shared
		for n := range rapid.IntRange(0, 2).Draw(t, "colleagues") {
			d.Users = append(d.Users, fakecloud.User{Name: person(i%40 + n + 1)})
		}
		if oneIn(t, 5, "group") {
			d.Users = append(d.Users, fakecloud.User{Name: "team", Type: "GROUP"})
		}
	case 2:
		d.Type = fakecloud.Pooled
	}
	switch rapid.IntRange(0, 14).Draw(t, "state") {
	case 0:
		d.AttachState, d.Users = rapid.SampledFrom([]string{fakecloud.Detached, fakecloud.Unattached}).Draw(t, "off"), nil
	case 1:
		d.Status = rapid.SampledFrom([]string{fakecloud.Hibernated, fakecloud.Errored, fakecloud.Shutoff}).Draw(t, "status")
	case 2:
		d.Frozen = true
	case 3:
		d.Maintenance = true
	case 4:
		d.AttachState = rapid.SampledFrom([]string{
			fakecloud.AttachFailed, fakecloud.AttachRepeatable, fakecloud.DetachFailed, fakecloud.DetachRepeatable, "UNHEARD_OF",
		}).Draw(t, "attach state")
	}
	if oneIn(t, 6, "ends") {
		d.DetachEnds = rapid.SliceOfN(rapid.SampledFrom([]string{
			fakecloud.DetachRepeatable, fakecloud.DetachFailed, fakecloud.Detached, fakecloud.Attached, fakecloud.Detaching,
		}), 1, 3).Draw(t, "detach ends")
	}
	if oneIn(t, 6, "heir") {
		d.AfterDetach = users("heir-of-" + d.ID)
	}
	if oneIn(t, 6, "slow") {
		d.DetachTakes = 120 * time.Millisecond
	}
	return d
}

func (s scenario) drawStep(t *rapid.T) step {
	x := step{after: rapid.IntRange(0, 6).Draw(t, "after")}
	x.kind = rapid.SampledFrom([]string{"enqueue", "enqueue", "enqueue", "faults", "faults", "recover", "kill", "join", "cancel", "retry", "redrive", "pause", "resume"}).Draw(t, "kind")
	switch x.kind {
	case "enqueue":
		x.req = s.drawRequest(t)
	case "retry", "redrive":
		x.held = rapid.Bool().Draw(t, "held")
	case "faults":
		for range rapid.IntRange(1, 3).Draw(t, "faults") {
			x.faults = append(x.faults, s.drawFault(t))
		}
	}
	return x
}

func (s scenario) drawRequest(t *rapid.T) tasks.Request {
	req := tasks.Request{
		AllowShared: oneIn(t, 4, "allow shared"), ShutoffAfterDetach: oneIn(t, 4, "shutoff"),
		Urgent: oneIn(t, 4, "urgent"), Expect: map[string][]string{},
	}
	some := rapid.SliceOfNDistinct(rapid.IntRange(0, len(s.fleet)-1), 0, len(s.fleet), rapid.ID[int]).Draw(t, "desktops")
	named := rapid.Bool().Draw(t, "named")
	for _, i := range some {
		d := s.fleet[i]
		req.Desktops = append(req.Desktops, d.ID)
		if !named && !oneIn(t, 5, "named all the same") {
			continue
		}
		switch {
		case len(d.Users) == 0 || oneIn(t, 6, "somebody else"):
			req.Expect[d.ID] = []string{person(rapid.IntRange(0, 60).Draw(t, "who"))}
		default:
			req.Expect[d.ID] = []string{d.Users[0].Name}
		}
	}
	if oneIn(t, 3, "ghosts") {
		req.Desktops = append(req.Desktops, s.ghost...)
	}
	if len(req.Desktops) == 0 || oneIn(t, 4, "users") {
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 60), 1, 10, rapid.ID[int]).Draw(t, "leavers") {
			name := person(n)
			switch rapid.IntRange(0, 5).Draw(t, "form") {
			case 0:
				name = strings.ToUpper(name)
			case 1:
				name += "@corp.example"
			}
			req.Users = append(req.Users, name)
		}
		req.UnknownUsers = rapid.SampledFrom([]string{"", tasks.HoldUnknown, tasks.IgnoreUnknown}).Draw(t, "unknown")
	}
	if oneIn(t, 4, "computers") {
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(s.fleet)+5), 1, 10, rapid.ID[int]).Draw(t, "machines") {
			name := computer(n)
			req.Computers = append(req.Computers, name)
			if n < len(s.fleet) && rapid.Bool().Draw(t, "guarded") {
				req.Expect[tasks.ComputerRow(name)] = []string{rapid.SampledFrom([]string{person(n % 40), person(60)}).Draw(t, "whose")}
			}
		}
	}
	later := func(what string) time.Time { // after it is submitted
		return time.Unix(0, 0).Add(time.Duration(rapid.IntRange(50, 400).Draw(t, what)) * time.Millisecond)
	}
	switch rapid.IntRange(0, 9).Draw(t, "scheduled") {
	case 0:
		req.NotBefore = later("not before")
	case 1:
		req.DueAt = later("due")
	case 2:
		req.DueAt, req.NotBefore = later("due"), later("not before")
	}
	return req
}

func (s scenario) drawFault(t *rapid.T) fakecloud.Fault {
	id := rapid.SampledFrom(s.fleet).Draw(t, "of").ID
	few := rapid.IntRange(1, 4).Draw(t, "times")
	f := rapid.SampledFrom([]fakecloud.Fault{
		{Effect: fakecloud.DropBefore, Times: few}, {Effect: fakecloud.DropAfter, Times: few}, {Effect: fakecloud.HangBefore, Times: 1},
		{Effect: fakecloud.HangAfter, Times: 1}, {Effect: fakecloud.Truncate, Times: few}, {Effect: fakecloud.Garbage, Times: few},
		{Status: 500, Times: few}, {Status: 500, Times: few, Applied: true}, {Status: 504, Code: "APIGW.0201", Times: few, Applied: true},
		{Status: 200, Body: `{"error_code":"WKS.0001"}`, Times: few}, {HTML: true, Times: few},
		{Body: unnamed, Times: few}, {Body: unnamed, Times: few, Applied: true},
		{Op: fakecloud.OpDetail, Desktop: id, Status: 404, Code: "WKS.00211902", Times: few},
		fakecloud.Throttle(few), fakecloud.Unavailable(few), fakecloud.Poison(id), fakecloud.Conflict(id, true),
		{Desktop: id, Status: 409, Code: "WKS.00010032", Times: few}, fakecloud.Refused(id, "WKS.00010110", "no address"),
		{Refuse: &fakecloud.Refusal{Code: "WKS.0005", Message: "later"}, Rate: 0.3, Times: 20},
		{Op: fakecloud.OpDetail, Effect: fakecloud.DropBefore, Times: few}, {Op: fakecloud.OpDetail, Effect: fakecloud.Garbage, Times: few},
		{Op: fakecloud.OpDetail, Effect: fakecloud.HangAfter, Times: 1}, {Op: fakecloud.OpDetail, Status: 500, Times: few},
		{Status: 403, Code: "WKS.00081102", Times: few}, {Status: 404, Times: few}, {Status: 407, Times: 1}, {Status: 302, Times: 1},
		{Op: fakecloud.OpDetail, Status: 403, Times: few}, {Op: fakecloud.OpDetail, HTML: true, Times: 1},
		{Op: fakecloud.OpUsers, Status: 403, Times: few}, {Op: fakecloud.OpUsers, Status: 500, Times: few},
		{Op: fakecloud.OpSubJobs, Status: 403, Times: few}, {Op: fakecloud.OpJob, Status: 500, Times: few},
	}).Draw(t, "fault")
	return f
}

// observed is a client that remembers what the workers were told.
type observed struct {
	*apiclient.Client
	*readings
}

type readings struct {
	mu   sync.Mutex
	seen map[string][]seen
}

// seen is one reading of a desktop.
type seen struct {
	at      time.Time
	exists  bool
	desktop apiclient.Desktop
}

func (o observed) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	list, err := o.Client.Desktops(ctx, ids)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		x := seen{at: time.Now()}
		if i := slices.IndexFunc(list, func(d apiclient.Desktop) bool { return d.ID == id }); i >= 0 {
			x.exists, x.desktop = true, list[i]
		}
		o.seen[id] = append(o.seen[id], x)
	}
	return list, nil
}

// off says that the reading shows the desktop without its expected users, or
// without any if none are expected.
func (x seen) off(expect []string) bool {
	if !x.exists {
		return true
	}
	off := x.desktop.AttachState == fakecloud.Detached || x.desktop.AttachState == fakecloud.Unattached
	if len(x.desktop.Users) == 0 {
		return off
	}
	return len(expect) > 0 && !slices.ContainsFunc(x.desktop.Users, func(u apiclient.User) bool {
		return u.Type != "GROUP" && slices.Contains(expect, u.Name)
	})
}

// play is a scenario on its way.
type play struct {
	*env
	scenario
	readings *readings
	workers  []*actor
	started  int
	ops      []record.Operation
	redrives []record.Redrive
	stopped  sync.WaitGroup
	given    []given // what the test gave to whom
	renamed  time.Time
}

// computerName is what a desktop's computer was called at a time.
func (p *play) computerName(i int, at time.Time) string {
	if name, again := p.names[i]; again && !p.renamed.IsZero() && at.After(p.renamed) {
		return name
	}
	return p.fleet[i].ComputerName
}

type actor struct {
	line   *line
	rdb    redis.UniversalClient
	worker *worker.Worker
}

// line is a way to Redis that can be cut for good.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.Join(errors.New("the line is cut"), c.Close())
	}
	l.conns = append(l.conns, c)
	return c, nil
}

func (l *line) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// given says that from a time on these had the desktop.
type given struct {
	at      time.Time
	desktop string
	users   []fakecloud.User
}

const mostAttempts = 8

func (p *play) join() {
	p.started++
	l := &line{}
	rdb := redis.NewClient(&redis.Options{Addr: p.server.Addr(), MaxRetries: -1, Dialer: l.dial})
	cfg := quick(rdb, fmt.Sprintf("worker-%d", p.started), observed{client(p.t, p.cloud.URL, 400*time.Millisecond), p.readings})
	cfg.Log, cfg.MaxAttempts, cfg.ConfirmWithin, cfg.ShutdownTimeout = zerolog.New(p.log), mostAttempts, 700*time.Millisecond, time.Second
	cfg.Projects[0].CallTimeout = 500 * time.Millisecond
	w, err := worker.New(cfg)
	require.NoError(p.t, err)
	worker.ShortenIntervals(w)
	require.NoError(p.t, w.Start(p.t.Context()))
	p.workers = append(p.workers, &actor{l, rdb, w})
}

// kill is as close as a process gets to kill -9 of a part of it: from one moment
// to the next nothing that the worker does reaches Redis; what it has on the wire
// to the cloud goes on.
func (p *play) kill() {
	if len(p.workers) == 0 {
		return
	}
	a := p.workers[0]
	p.workers = p.workers[1:]
	a.line.sever()
	p.stopped.Go(func() {
		a.worker.Stop()
		_ = a.rdb.Close()
	})
}

func (p *play) do(x step) {
	arrived := len(p.cloud.Requests())
	ctx, cancel := context.WithTimeout(p.t.Context(), 150*time.Millisecond)
	defer cancel()
	_ = p.cloud.Wait(ctx, func() bool { return len(p.cloud.Requests()) >= arrived+x.after })
	switch x.kind {
	case "enqueue":
		for _, at := range []*time.Time{&x.req.NotBefore, &x.req.DueAt} {
			if !at.IsZero() {
				*at = time.Now().Add(at.Sub(time.Unix(0, 0)))
			}
		}
		p.ops = append(p.ops, p.enqueue(x.req))
	case "faults":
		p.cloud.Fail(x.faults...)
	case "recover":
		p.cloud.ClearFaults()
	case "kill":
		p.kill()
	case "join":
		if len(p.workers) < 3 {
			p.join()
		}
	case "pause":
		require.NoError(p.t, p.record.PauseProject(p.t.Context(), "hq", tasks.PauseOperator, 0, "model"))
	case "resume":
		require.NoError(p.t, p.record.ResumeProject(p.t.Context(), "hq"))
	case "redrive":
		q := tasks.RedriveRequest{RequestedBy: "model"}
		if x.held {
			q.Filter.Class = "held"
		}
		r, err := p.p.Redrive(p.t.Context(), q)
		require.NoError(p.t, err)
		p.redrives = append(p.redrives, r)
	}
	if len(p.ops) == 0 {
		return
	}
	op := p.operation(p.ops[x.after%len(p.ops)])
	switch x.kind {
	case "cancel":
		_, _, err := p.record.Cancel(p.t.Context(), op, time.Now(), "model")
		require.NoError(p.t, err)
	case "retry":
		_, err := p.p.Retry(p.t.Context(), op, tasks.RetryFilter{Held: x.held}, "model")
		require.NoError(p.t, err)
	}
}

// settle lets the dust settle: nothing goes wrong any more, and all ends.
func (p *play) settle() map[string]map[string]record.Row {
	p.cloud.ClearFaults()
	require.NoError(p.t, p.record.ResumeProject(p.t.Context(), "hq"))
	if len(p.workers) == 0 {
		p.join()
	}
	for _, x := range p.redrives {
		require.Eventually(p.t, func() bool {
			r, err := p.record.Redrive(context.Background(), x.ID)
			return err == nil && r.Done() && r.Retried+r.Skipped == r.Matched
		}, patience, 10*time.Millisecond, "the redrive does not end")
	}
	rows := map[string]map[string]record.Row{}
	for i, op := range p.ops {
		require.Eventually(p.t, func() bool {
			// What was on the wire when the faults ended may still pause the project.
			err := p.record.ResumeProject(context.Background(), "hq", tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI)
			return err == nil && p.operation(op).Done()
		}, patience, 20*time.Millisecond, "the operation does not end")
		p.ops[i], rows[op.ID] = p.ended(op)
	}
	return rows
}

// Random operations, fleets, faults, crashes and what operators do, against the
// cloud's truth. DETACHD_TEST_SEEDS=1-500 plays others than the usual ones.
func TestTheTruth(t *testing.T) {
	t.Parallel()
	for seed := range seeds(t, 1, 24) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			playOut(t, scenarios.Example(seed))
		})
	}
}

// seeds are the seeds from first to last, or those that the environment names.
func seeds(t *testing.T, first, last int) iter.Seq[int] {
	if s := os.Getenv("DETACHD_TEST_SEEDS"); s != "" {
		_, err := fmt.Sscanf(s, "%d-%d", &first, &last)
		require.NoError(t, err)
	}
	return func(yield func(int) bool) {
		for seed := first; seed <= last && yield(seed); seed++ {
		}
	}
}

func playOut(t *testing.T, sc scenario) {
	server := redistest.Start(t)
	p := &play{env: newEnvOn(t, server, server.Client(t), sc.setup), scenario: sc, readings: &readings{seen: map[string][]seen{}}}
	p.cloud.Add(projectID, sc.fleet...)
	p.absent = true
	p.cloud.Add(elsewhere, fakecloud.Desktop{ID: "elsewhere-1"})
	for n := range knownPeople + 1 {
		p.cloud.AddPeople(projectID, fakecloud.Person{Name: person(n)})
	}
	for _, d := range p.cloud.Desktops(projectID) {
		p.given = append(p.given, given{desktop: d.ID, users: d.Users})
	}
	t.Cleanup(func() {
		for len(p.workers) > 0 {
			a := p.workers[0]
			p.workers = p.workers[1:]
			a.worker.Stop()
			_ = a.rdb.Close()
		}
		p.stopped.Wait()
	})
	p.join()
	for _, x := range sc.acts[0] {
		p.do(x)
	}
	p.verify(p.settle())
	for i, name := range sc.heirs {
		id := sc.fleet[i].ID
		p.given = append(p.given, given{time.Now(), id, users(name)})
		p.cloud.Attach(projectID, id, users(name)...)
	}
	p.renamed = time.Now()
	for i, name := range sc.names {
		p.cloud.Update(projectID, sc.fleet[i].ID, func(d *fakecloud.Desktop) { d.ComputerName = name })
	}
	for _, x := range sc.acts[1] {
		p.do(x)
	}
	p.verify(p.settle())
}

// had says who had a desktop at a time, by what the test gave and what the cloud
// took.
func (p *play) had(id string, at time.Time, taken []fakecloud.Removal) map[string]bool {
	on := map[string]bool{}
	type event struct {
		at    time.Time
		apply func()
	}
	var events []event
	for _, g := range p.given {
		if g.desktop == id {
			events = append(events, event{g.at, func() {
				clear(on)
				for _, u := range g.users {
					on[u.Name] = true
				}
			}})
		}
	}
	heir := "heir-of-" + id
	inherits := slices.ContainsFunc(p.fleet, func(d fakecloud.Desktop) bool { return d.ID == id && d.AfterDetach != nil })
	for _, r := range taken {
		if r.DesktopID == id {
			events = append(events, event{r.Time, func() {
				delete(on, r.User.Name)
				if len(on) == 0 && inherits {
					inherits = false
					on[heir] = true
				}
			}})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	for _, e := range events {
		if !e.at.After(at) {
			e.apply()
		}
	}
	return on
}

// verify holds the record and the calls against the truth.
func (p *play) verify(rows map[string]map[string]record.Row) {
	t := p.t
	taken := p.cloud.Removals(projectID)
	calls := p.calls() // none above 100, none with a duplicate, no desktop in two at once
	requests := map[string]record.Operation{}
	named := map[string][]record.Row{} // every row that is about a desktop
	runs := map[string]int{}           // how often such a row was begun
	for _, op := range p.ops {
		requests[op.ID] = op
		es, err := p.record.Evidence(t.Context(), op, 0, op.Chunks())
		require.NoError(t, err)
		for _, e := range es {
			for _, d := range e.Desktops {
				named[d.ID] = append(named[d.ID], d)
				runs[d.ID]++
			}
			for _, entry := range e.Trail {
				for i, x := range entry.Steps() {
					if x.To == tasks.StateQueued && (x.From == tasks.StateFailed || x.From == tasks.StateHeld) {
						runs[e.Desktops[i].ID]++
					}
				}
			}
		}
	}

	for id, list := range named {
		for _, d := range list {
			require.Equal(t, rows[d.OperationID][id].State, d.State)
			op := requests[d.OperationID]
			if _, isUser := d.User(); isUser {
				p.verifyUser(d, op, taken)
			} else if name, isComputer := d.Computer(); isComputer {
				require.Contains(t, []tasks.State{tasks.StateExpanded, tasks.StateHeld, tasks.StateCancelled, tasks.StateFailed}, d.State, "%s: %+v", name, d)
			} else {
				p.verifyRow(d, op, taken)
			}
		}
	}

	// Whoever lost a desktop was meant to, by an operation that had begun.
	for _, r := range taken {
		before := p.had(r.DesktopID, r.Time.Add(-time.Microsecond), taken)
		meant := slices.ContainsFunc(named[r.DesktopID], func(d record.Row) bool {
			op := requests[d.OperationID]
			if start := op.NotBefore; r.Time.Before(start.Truncate(time.Millisecond)) || start.IsZero() && r.Time.Before(op.DueAt.Truncate(time.Millisecond)) && op.DueAt.After(op.AcceptedAt) {
				return false
			}
			if i := slices.IndexFunc(p.fleet, func(f fakecloud.Desktop) bool { return f.ID == r.DesktopID }); d.FoundAs != "" && d.FoundAs != p.computerName(i, r.Time) {
				return false
			}
			if len(d.Expected()) > 0 && !slices.Contains(d.Expected(), r.User.Name) {
				return false
			}
			return len(d.Expect) > 0 || op.AllowShared || len(before) <= 1
		})
		require.True(t, meant, "%s lost %s by request %s, and nobody had asked for that (on it: %v)", r.User.Name, r.DesktopID, r.RequestID, before)
	}

	inCalls := map[string]int{}
	for _, c := range calls {
		for _, id := range c.DesktopIDs {
			if c.Status != 429 && c.Status != 503 {
				inCalls[id]++ // those spend no attempts
			}
			require.NotContains(t, p.ghost, id, "what does not exist was sent")
			require.True(t, slices.ContainsFunc(p.readings.of(id), func(x seen) bool {
				return x.exists && x.at.Before(c.Time) && c.Time.Sub(x.at) < 6*time.Second // five, and the way to the cloud
			}), "%s was sent unread", id)
			expect, all := expectedOf(named[id])
			on := p.had(id, c.Time, taken)
			if !all || len(on) == 0 {
				continue
			}
			require.True(t, slices.ContainsFunc(expect, func(name string) bool { return on[name] }),
				"%s was in a call although %v had it, and %v was expected", id, on, expect)
			if strings.HasSuffix(c.Path, "/detach") {
				for name := range on {
					require.Contains(t, expect, name, "%s was taken from everybody", id)
				}
			}
		}
	}
	for id := range named {
		require.Zero(t, p.cloud.DetachedInVain(projectID, id), "%s was sent although it was detached", id)
		// The bounds. A run of a row makes at most mostAttempts calls that count,
		// and isolating a batch of up to 128 seven more for each of them that
		// spoils; what the cloud refuses for now (429, 503) is not counted.
		require.LessOrEqual(t, inCalls[id], runs[id]*2*mostAttempts, "calls of %s", id)
		// Each call has at most a reading before it, and after it as many as are
		// made while it may still take effect; until mostLooks it is looked at to
		// prove it.
		const mostLooks, mostUnknown = 8, 3
		require.LessOrEqual(t, len(p.readings.of(id)), (1+mostUnknown)*inCalls[id]+(mostLooks+mostAttempts)*runs[id], "readings of %s", id)
	}
}

func (r *readings) of(id string) []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[id])
}

func (p *play) hadByName(id, name string, at time.Time, taken []fakecloud.Removal) bool {
	return p.had(id, at, taken)[name]
}

// expectedOf returns the users that any row expects; all is false if a row names none.
func expectedOf(rows []record.Row) (names []string, all bool) {
	all = true
	for _, d := range rows { // of what the requests say: what is pinned follows from it
		names = append(names, d.Expect...)
		all = all && len(d.Expect) > 0
	}
	return names, all
}

// verifyUser checks that a row ends without a desktop only if no user of exactly that name
// has one, and if Workspace knows the user or unknown users are ignored; never if a user
// has the name in another form.
func (p *play) verifyUser(d record.Row, op record.Operation, taken []fakecloud.Removal) {
	t := p.t
	name, _ := d.User()
	require.NotEqual(t, tasks.StateDetached, d.State, "a user is not a desktop: %+v", d)
	if d.State != tasks.StateNoDesktop {
		return
	}
	for _, other := range p.fleet {
		require.False(t, p.hadByName(other.ID, name, d.UpdatedAt.Add(time.Millisecond), taken), "%s has %s, but was said to have none at %s\n%s", name, other.ID, d.UpdatedAt, p.story(other.ID, taken))
	}
	var n int
	if _, err := fmt.Sscanf(name, "person-%d", &n); err == nil && name == person(n) && n <= knownPeople {
		require.Empty(t, d.Note, "%s is known", name)
		return
	}
	require.Equal(t, tasks.NoteUnknownUser, d.Note, "%s is not known", name)
	require.Equal(t, tasks.IgnoreUnknown, op.UnknownUsers)
	lower, _, _ := strings.Cut(strings.ToLower(name), "@")
	if _, err := fmt.Sscanf(lower, "person-%d", &n); err == nil {
		require.Greater(t, n, knownPeople, "%s is known in another form", name)
	}
}

// verifyRow: detached only where the truth says that no (named) user is attached,
// never failed where it was detached and read so.
func (p *play) verifyRow(d record.Row, op record.Operation, taken []fakecloud.Removal) {
	t := p.t
	switch d.State {
	case tasks.StateDetached:
		require.NotContains(t, p.ghost, d.ID, "nothing of that name was ever detached: %+v", d)
		require.True(t, slices.ContainsFunc(p.readings.of(d.ID), func(x seen) bool { return x.exists }), "no reading ever showed %s", d.ID)
		on := p.had(d.ID, d.UpdatedAt.Add(time.Millisecond), taken) // it is stored in whole ones
		if len(d.Expected()) == 0 {
			require.Empty(t, on, "%s is called detached by %s: %+v\n%s", d.ID, op.ID, d, p.story(d.ID, taken))
		}
		for _, name := range d.Expected() {
			require.False(t, on[name], "%s is called detached by %s, but %s has it: %+v\n%s", d.ID, op.ID, name, d, p.story(d.ID, taken))
		}
	case tasks.StateFailed:
		// A reading that another worker had a moment before the end may cross it.
		for _, x := range p.readings.of(d.ID) {
			if x.at.After(p.lastSent(d, op)) && x.at.Before(d.UpdatedAt.Add(-time.Second)) {
				require.False(t, x.off(d.Expected()), "%s failed, but was read as detached: %+v\n%s", d.ID, x, p.story(d.ID, taken))
			}
		}
	}
}

// lastSent is when the last call of a desktop's row was made; if none was, when
// the row was last begun.
func (p *play) lastSent(d record.Row, op record.Operation) time.Time {
	es, err := p.record.Evidence(p.t.Context(), op, d.Chunk, d.Chunk+1)
	require.NoError(p.t, err)
	at := op.AcceptedAt
	for _, e := range es[0].Trail {
		for i, x := range e.Steps() {
			if i == d.Position && (x.To == tasks.StateSending || x.From == tasks.StateFailed || x.From == tasks.StateHeld) {
				at = e.At
			}
		}
	}
	return at
}

// story is all that is known of a desktop. It is told only if a test fails: it reads everything.
type story struct {
	play    *play
	desktop string
	taken   []fakecloud.Removal
}

func (p *play) story(id string, taken []fakecloud.Removal) fmt.Stringer { return story{p, id, taken} }

func (s story) String() string {
	p, id, taken := s.play, s.desktop, s.taken
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, g := range p.given {
		if g.desktop == id {
			lines = append(lines, line{g.at, fmt.Sprintf("given to %v", g.users)})
		}
	}
	for _, r := range taken {
		if r.DesktopID == id {
			lines = append(lines, line{r.Time, fmt.Sprintf("taken from %s by %s", r.User.Name, r.RequestID)})
		}
	}
	for _, c := range p.calls() {
		if slices.Contains(c.DesktopIDs, id) {
			lines = append(lines, line{c.Time, fmt.Sprintf("%s %s: %d, effect %t", c.RequestID, c.Path, c.Status, c.Effect)})
		}
	}
	for _, x := range p.readings.of(id) {
		lines = append(lines, line{x.at, fmt.Sprintf("read as %t %+v", x.exists, x.desktop)})
	}
	for _, op := range p.ops {
		es, err := p.record.Evidence(context.Background(), op, 0, op.Chunks())
		require.NoError(p.t, err)
		for _, e := range es {
			for _, d := range e.Desktops {
				if d.ID != id {
					continue
				}
				lines = append(lines, line{op.AcceptedAt, fmt.Sprintf("row of %s, expects %v", op.ID, d.Expect)})
				for _, entry := range e.Trail {
					for i, x := range entry.Steps() {
						if i == d.Position {
							lines = append(lines, line{x.At, fmt.Sprintf("%s: %s to %s, %s, %s, by %s", op.ID, x.From, x.To, x.Note, x.Detail, x.By)})
						}
					}
				}
			}
		}
	}
	for _, d := range p.fleet {
		if d.ID == id {
			lines = append(lines, line{text: fmt.Sprintf("%+v", d)})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var out strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&out, "%s %s\n", l.at.Format("05.000"), l.text)
	}
	return out.String()
}
