package dashboard

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// overview is the first page: what needs attention, what is in progress, what is coming, and
// the outcomes of the last hour, day or week.
type overview struct {
	Counts     tasks.Counts // of all projects of the key
	Scheduled  int          // operations
	DueToday   int
	Operations int // in the record; 0: the first run
	Workers    int // alive
	Calls      float64
	Oldest     time.Duration
	Waiting    int // operations, for an approval
	Todo       []todo
	InProgress table
	Coming     table
	Range      tasks.StatsRange
	Ranges     []chip
	Outcomes   chart
	Faults     chart // failed and on hold, which would be too small beside detached
	Results    tasks.Tally
	Removed    []removedRow
	Confirmed  int
	Within     within
	Server     string // of the first run's curl
}

func (overview) refreshAfter() int { return 3 }

func (p overview) titleState() string {
	switch {
	case p.Waiting > 0:
		return thousands(p.Waiting) + " to approve"
	case p.Counts.Failed > 0:
		return thousands(p.Counts.Failed) + " failed"
	case p.Counts.Held > 0:
		return thousands(p.Counts.Held) + " on hold"
	}
	return ""
}

// todo is an entry of what needs attention.
type todo struct {
	Weight string // bad or warn
	Label  string
	What   string
	Code   string
	N      int // desktops
	Since  time.Time
	Asked  time.Time // of an operation that waits for an approval
	Ran    time.Time // of a schedule
	Why    string
	Acts   []act
}

// act is a verb that leads to a page.
type act struct {
	Verb, Link string
	Main       bool
}

const (
	// longWait is the time in the queue that needs attention.
	longWait = 5 * time.Minute
	// shownAtOnce is how many operations and redrives the overview shows of each list.
	shownAtOnce = 10
)

func (v *visit) overview() error {
	p := overview{Range: tasks.StatsRange(cmp.Or(v.param("range"), string(tasks.LastDay))), Server: v.address()}
	if p.Range.Steps() == 0 {
		return invalidField("range", "is not 1h, 24h or 7d")
	}
	stats, err := v.api.Stats(v.Context(), "", p.Range)
	if err != nil {
		return err
	}
	workers, err := v.api.Workers(v.Context())
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	for _, w := range workers {
		if w.Alive() {
			p.Workers++
		}
	}
	p.Outcomes, p.Faults = outcomesOf(stats, v.zone())
	p.Removed, p.Confirmed = removedOf(stats)
	p.Within = withinOf(stats)
	for _, s := range stats {
		p.Counts.Add(s.Counts)
		p.Results.Detached, p.Results.Failed, p.Results.Held = p.Results.Detached+s.Results.Detached, p.Results.Failed+s.Results.Failed,
			p.Results.Held+s.Results.Held
		p.Scheduled, p.DueToday, p.Operations = p.Scheduled+s.Scheduled, p.DueToday+s.DueToday, p.Operations+s.Operations
		p.Waiting += s.AwaitingApproval
		p.Calls += s.CallsPerMinute
		p.Oldest = max(p.Oldest, time.Duration(s.OldestMS)*time.Millisecond)
	}
	for _, x := range []struct {
		name  string
		value tasks.StatsRange
	}{{"1 h", tasks.LastHour}, {"24 h", tasks.LastDay}, {"7 d", tasks.LastWeek}} {
		p.Ranges = append(p.Ranges, chip{Name: x.name, On: x.value == p.Range, Link: "/?range=" + string(x.value) + "#outcomes"})
	}
	if p.Todo, err = v.waitingTodos(p.Waiting); err != nil {
		return err
	}
	failing, err := v.scheduleTodos()
	if err != nil {
		return err
	}
	p.Todo = append(p.Todo, failing...)
	p.Todo = append(p.Todo, todosOf(stats, p.Workers, m, v.d.Now(), v.may(access.Operator))...)
	if p.Operations == 0 {
		return v.page(http.StatusOK, "overview", "Overview", p)
	}
	if err := v.addInProgress(&p); err != nil {
		return err
	}
	if err := v.addComing(&p); err != nil {
		return err
	}
	return v.page(http.StatusOK, "overview", "Overview", p)
}

// todosOf lists what needs attention, the worst first, with what the visitor can do.
func todosOf(stats []tasks.Stats, workers int, m meanings, now time.Time, operator bool) []todo {
	var out []todo
	if workers == 0 {
		out = append(out, todo{
			Weight: "bad", Label: "no worker", What: "No worker is running, so nothing is processed.",
			Why: "Start detachd worker. detachd doctor shows what is wrong.",
		})
	}
	var counts []tasks.FailureCount
	for _, s := range stats {
		counts = append(counts, s.Failures...)
		inProgress := []act{{"Review", "/operations?open=1&project=" + s.Project, false}}
		if s.Pause != nil && s.Pause.Kind != tasks.PauseStop { // of which every page has a banner
			out = append(out, pausedTodo(s, now))
		}
		if n := s.Unserved(); n > 0 && workers > 0 {
			out = append(out, todo{
				Weight: "bad", Label: "no worker", What: "No worker serves project " + s.Project + ": its desktops wait, and fail at their deadline.",
				Why: "Start a worker that has the project in its configuration.", N: n, Acts: inProgress,
			})
		}
		if oldest := time.Duration(s.OldestMS) * time.Millisecond; oldest > longWait && s.Pause == nil {
			out = append(out, todo{
				Weight: "warn", Label: "queued", What: "Project " + s.Project + ": desktops wait in the queue", Since: now.Add(-oldest),
				N: s.Counts.Queued, Acts: inProgress,
			})
		}
	}
	for _, g := range groupsOf(counts, "code", m) {
		t := todo{Weight: "bad", Label: "failed", Code: g.Code, N: g.Count, Why: cmp.Or(g.Why, g.Does), Since: oldestOf(counts, g)}
		f := failureFields{Class: g.Class, Code: g.Code}
		review := act{"Review " + thousands(g.Count), f.at("/failures"), true}
		switch {
		case tasks.Class(g.Class) == tasks.ClassHeld:
			t.Weight, t.Label, t.Acts = "warn", "on hold", []act{review}
		case operator:
			review.Main, review.Verb = false, "Review"
			t.Acts = []act{{"Retry " + thousands(g.Count) + "…", f.at("/redrives/preview", "which", "all"), true}, review}
		default:
			t.Acts = []act{review}
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b todo) int { return strings.Compare(a.Weight, b.Weight) }) // bad before warn
	return out
}

// oldestOf is when the oldest failure of a group happened.
func oldestOf(counts []tasks.FailureCount, g failureGroup) (at time.Time) {
	for _, c := range counts {
		if c.Code == g.Code && string(c.Class) == g.Class && !c.OldestAt.IsZero() && (at.IsZero() || c.OldestAt.Before(at)) {
			at = c.OldestAt
		}
	}
	return at
}

func pausedTodo(s tasks.Stats, now time.Time) todo {
	t := todo{Weight: "warn", Label: "paused", What: "Project " + s.Project + " is paused", Why: s.Pause.Reason,
		Acts: []act{{"Review", "/projects", false}}}
	switch s.Pause.Kind {
	case tasks.PauseAuth:
		t.Weight, t.What = "bad", "Project "+s.Project+": the cloud refuses the credentials"
	case tasks.PauseThrottled:
		t.Label, t.What = "throttled", "Project "+s.Project+": the cloud asked for fewer calls"
	}
	if !s.Pause.Until.IsZero() {
		t.What += ", for another " + took(s.Pause.Until.Sub(now))
	}
	return t
}

// operationsOf lists the first operations of all projects of the key.
func (v *visit) operationsOf(f tasks.OperationFilter) (out []tasks.Operation, err error) {
	filters := []tasks.OperationFilter{f}
	if len(v.key.Projects) > 0 {
		filters = nil
		for _, alias := range v.key.Projects {
			f.Project = alias
			filters = append(filters, f)
		}
	}
	for _, f := range filters {
		ops, _, err := v.api.Operations(v.Context(), f, shownAtOnce, "")
		if err != nil {
			return nil, err
		}
		out = append(out, ops...)
	}
	return out, nil
}

// addInProgress adds the unfinished operations and redrives.
func (v *visit) addInProgress(p *overview) error {
	ops, err := v.operationsOf(tasks.OperationFilter{Open: true})
	if err != nil {
		return err
	}
	slices.SortStableFunc(ops, func(a, b tasks.Operation) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	t := table{
		Caption: "Unfinished operations and bulk retries", NoFoot: true, Fixed: true,
		Columns: []column{{Name: "Operation", Class: "first"}, {Name: "Project"}, {Name: "Requested by"}, {Name: "State"},
			{Name: "Progress", Class: "slim"}, {Name: "Takes"}, {Name: "Desktops", Class: "num"}, {Name: "Started"}},
	}
	for _, op := range ops[:min(len(ops), shownAtOnce)] {
		x := progressOf(op)
		started := op.AcceptedAt
		if op.NotBefore.After(started) {
			started = op.NotBefore
		}
		t.Rows = append(t.Rows, row{Key: op.ID, Cells: []cell{
			operationCell(op), textCell(op.Project), textCell(op.RequestedBy), operationState(op, v.d.Now()),
			barCell(x.Bar, share(x.Finished(), op.Total)), estimateCell(op.Estimate), numCell(op.Total), v.timeCell(started),
		}})
	}
	all, _, err := v.api.Redrives(v.Context(), shownAtOnce, "")
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.Done() {
			continue
		}
		done := x.Retried + x.Skipped
		t.Rows = append(t.Rows, row{Key: x.ID, Cells: []cell{
			mainOf(mainCell{Link: "/redrives/" + x.ID, Text: x.Reason, ID: x.ID, Tag: "bulk retry"}), textCell(strings.Join(x.Projects, ", ")),
			textCell(x.RequestedBy), bulkOf(x).state(), barCell([]barPart{{tasks.StateSending, 0, share(done, x.Matched)}}, share(done, x.Matched)),
			{Blank: true}, numCell(x.Matched), v.timeCell(x.CreatedAt),
		}})
	}
	p.InProgress = v.layOut(t)
	return nil
}

// addComing adds what is scheduled, and what is in progress and due later today in the
// visitor's zone, the next first.
func (v *visit) addComing(p *overview) error {
	now := v.d.Now().In(v.zone())
	midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, now.Location())
	scheduled, err := v.operationsOf(tasks.OperationFilter{Scheduled: true})
	if err != nil {
		return err
	}
	due, err := v.operationsOf(tasks.OperationFilter{DueBefore: midnight})
	if err != nil {
		return err
	}
	ops := scheduled
	for _, op := range due {
		if op.DueAt.After(now) && op.State(now) == tasks.OperationRunning {
			ops = append(ops, op)
		}
	}
	next := func(op tasks.Operation) time.Time {
		if op.NotBefore.After(now) {
			return op.NotBefore
		}
		return op.DueAt
	}
	slices.SortStableFunc(ops, func(a, b tasks.Operation) int { return next(a).Compare(next(b)) })
	t := table{
		Caption: "Scheduled operations, and those due today", NoFoot: true, Fixed: true,
		Columns: []column{{Name: "Operation", Class: "first"}, {Name: "Project"}, {Name: "Requested by"}, {Name: "Desktops", Class: "num"},
			{Name: "Starts"}, {Name: "Remove access by"}},
	}
	for _, op := range ops[:min(len(ops), shownAtOnce)] {
		starts := tagCell("busy", "in progress")
		if op.NotBefore.After(now) {
			starts = v.timeCell(op.NotBefore)
		}
		t.Rows = append(t.Rows, row{Key: op.ID, Cells: []cell{
			operationCell(op), textCell(op.Project), textCell(op.RequestedBy), numCell(op.Total), starts, v.timeCell(op.DueAt),
		}})
	}
	p.Coming = v.layOut(t)
	return nil
}

// Now counts what is in progress, in words.
func (p overview) Now() string {
	parts := []string{plural(p.Workers, "worker", "workers"), fmt.Sprintf("%.0f calls a minute", p.Calls)}
	if p.Counts.Queued > 0 {
		queued := thousands(p.Counts.Queued) + " queued"
		if p.Oldest > 0 {
			queued += " for up to " + took(p.Oldest)
		}
		parts = append(parts, queued)
	}
	if n := p.Counts.Sending + p.Counts.Accepted; n > 0 {
		parts = append(parts, thousands(n)+" awaiting confirmation")
	}
	return strings.Join(parts, " · ")
}

// RangeText is the range in words.
func (p overview) RangeText() string {
	switch p.Range {
	case tasks.LastHour:
		return "the last hour"
	case tasks.LastWeek:
		return "the last 7 days"
	}
	return "the last 24 hours"
}
