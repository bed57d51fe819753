package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// overview is the first page: what needs attention, what is in progress, and the outcomes
// of the last day.
type overview struct {
	Counts     tasks.Counts // of all projects of the key
	Scheduled  int          // operations
	Workers    int          // alive
	Calls      float64
	Oldest     time.Duration
	Todo       []todo
	InProgress []progress
	Redrives   []tasks.Redrive
	Outcomes   chart
	Removed    []removedRow
	Confirmed  int
}

func (overview) refreshAfter() int { return 3 }

// todo is an entry of what needs attention.
type todo struct {
	Weight string // bad or warn
	Label  string
	What   string
	Code   string
	N      int // desktops
	Why    string
	Link   string
}

const (
	// longWait is the time in the queue that needs attention.
	longWait = 5 * time.Minute
	// inProgressShown is how many operations and redrives are shown.
	inProgressShown = 10
)

func (v *visit) overview() error {
	stats, err := v.api.Stats(v.Context(), "", tasks.LastDay)
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
	p := overview{Outcomes: outcomesOf(stats, v.zone())}
	for _, w := range workers {
		if w.Alive() {
			p.Workers++
		}
	}
	p.Removed, p.Confirmed = removedOf(stats)
	for _, s := range stats {
		p.Counts.Add(s.Counts)
		p.Scheduled += s.Scheduled
		p.Calls += s.CallsPerMinute
		p.Oldest = max(p.Oldest, time.Duration(s.OldestMS)*time.Millisecond)
	}
	p.Todo = todosOf(stats, p.Workers, m, v.d.Now())
	if err := v.addInProgress(&p); err != nil {
		return err
	}
	return v.page(http.StatusOK, "overview", "Overview", p)
}

// todosOf lists what needs attention, the worst first.
func todosOf(stats []tasks.Stats, workers int, m meanings, now time.Time) []todo {
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
		if s.Pause != nil {
			out = append(out, pausedTodo(s, now))
		}
		if n := s.Unserved(); n > 0 && workers > 0 {
			out = append(out, todo{
				Weight: "bad", Label: "no worker", What: "No worker serves project " + s.Project + ": its desktops wait, and fail at their deadline.",
				Why: "Start a worker that has the project in its configuration.", N: n, Link: "/operations?open=1&project=" + s.Project,
			})
		}
		if oldest := time.Duration(s.OldestMS) * time.Millisecond; oldest > longWait && s.Pause == nil {
			out = append(out, todo{
				Weight: "warn", Label: "queued", What: fmt.Sprintf("Project %s: the oldest desktop has been queued for %s", s.Project, took(oldest)),
				N: s.Counts.Queued, Link: "/operations?open=1&project=" + s.Project,
			})
		}
	}
	for _, g := range groupsOf(counts, "code", m) {
		t := todo{Weight: "bad", Label: "failed", Code: g.Code, N: g.Count, Why: g.Why}
		if tasks.Class(g.Class) == tasks.ClassHeld {
			t.Weight, t.Label = "warn", "on hold"
		}
		t.Link, _ = query("/failures", "class", g.Class, "code", g.Code) // fails only for a parameter without a value
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b todo) int { return strings.Compare(a.Weight, b.Weight) }) // bad before warn
	return out
}

func pausedTodo(s tasks.Stats, now time.Time) todo {
	t := todo{Weight: "warn", Label: "paused", What: "Project " + s.Project + " is paused", Why: s.Pause.Reason, Link: "/projects"}
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

// addInProgress adds the unfinished operations and redrives of all projects of the key.
func (v *visit) addInProgress(p *overview) error {
	filters := []tasks.OperationFilter{{Open: true}}
	if len(v.key.Projects) > 0 {
		filters = nil
		for _, alias := range v.key.Projects {
			filters = append(filters, tasks.OperationFilter{Open: true, Project: alias})
		}
	}
	for _, f := range filters {
		ops, _, err := v.api.Operations(v.Context(), f, inProgressShown, "")
		if err != nil {
			return err
		}
		for _, op := range ops {
			p.InProgress = append(p.InProgress, progressOf(op))
		}
	}
	slices.SortStableFunc(p.InProgress, func(a, b progress) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	p.InProgress = p.InProgress[:min(len(p.InProgress), inProgressShown)]
	all, _, err := v.api.Redrives(v.Context(), inProgressShown, "")
	for _, x := range all {
		if !x.Done() {
			p.Redrives = append(p.Redrives, x)
		}
	}
	return err
}
