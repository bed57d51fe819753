package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
)

// overview is the first page: what needs a person, what is moving, and what came of
// the last day.
type overview struct {
	Counts    tasks.Counts // of all projects that the key is for
	Scheduled int          // operations
	Workers   int          // that beat
	Calls     float64
	Oldest    time.Duration
	Todo      []todo
	Moving    []progress
	Redrives  []tasks.Redrive
	Outcomes  chart
	Removed   []removedRow
	Proven    int
}

func (overview) refreshAfter() int { return 3 }

// todo is something that needs a person.
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
	// waitsLong is after what time waiting is worth a look.
	waitsLong = 5 * time.Minute
	// movingShown is how many operations and redrives are shown.
	movingShown = 10
)

func (v *visit) overview() error {
	stats, err := v.api.Stats(v.Context(), "")
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
	p.Removed, p.Proven = removedOf(stats)
	for _, s := range stats {
		p.add(s)
	}
	p.Todo = todosOf(stats, p.Workers, m, v.d.Now())
	if err := v.moving(&p); err != nil {
		return err
	}
	return v.page(http.StatusOK, "overview", "Overview", p)
}

func (p *overview) add(s tasks.Stats) {
	p.Counts.Add(s.Counts)
	p.Scheduled += s.Scheduled
	p.Calls += s.CallsPerMinute
	p.Oldest = max(p.Oldest, time.Duration(s.OldestMS)*time.Millisecond)
}

// todosOf lists what needs a person, the worst first.
func todosOf(stats []tasks.Stats, workers int, m meanings, now time.Time) []todo {
	var out []todo
	if workers == 0 {
		out = append(out, todo{Weight: "bad", Label: "no worker", What: "No worker is running: nothing moves.", Why: "Start detachd worker; detachd doctor says what is wrong."})
	}
	var counts []tasks.FailureCount
	for _, s := range stats {
		counts = append(counts, s.Failures...)
		if s.Pause != nil {
			out = append(out, pausedTodo(s, now))
		}
		if n := s.Unserved(); n > 0 && workers > 0 {
			out = append(out, todo{
				Weight: "bad", Label: "no worker", What: "No worker serves project " + s.Project + ": what it has waits, and fails when its time is up.",
				Why: "Start a worker whose configuration has the project.", N: n, Link: "/operations?open=1&project=" + s.Project,
			})
		}
		if oldest := time.Duration(s.OldestMS) * time.Millisecond; oldest > waitsLong && s.Pause == nil {
			out = append(out, todo{
				Weight: "warn", Label: "waiting", What: fmt.Sprintf("Project %s: the oldest has waited for %s", s.Project, took(oldest)),
				N: s.Counts.Queued, Link: "/operations?open=1&project=" + s.Project,
			})
		}
	}
	for _, g := range groupsOf(counts, "code", m) {
		t := todo{Weight: "bad", Label: "failed", Code: g.Code, N: g.Count, Why: g.Why}
		if g.Class == tasks.ClassHeld {
			t.Weight, t.Label = "warn", "held"
		}
		link, err := query("/failures", "class", g.Class, "code", g.Code)
		if err != nil {
			continue // it has pairs
		}
		t.Link = link
		out = append(out, t)
	}
	weights := []string{"bad", "warn"}
	slices.SortStableFunc(out, func(a, b todo) int { return slices.Index(weights, a.Weight) - slices.Index(weights, b.Weight) })
	return out
}

func pausedTodo(s tasks.Stats, now time.Time) todo {
	t := todo{Weight: "warn", Label: "paused", What: "Project " + s.Project + " is paused", Why: s.Pause.Reason, Link: "/projects"}
	switch s.Pause.Kind {
	case tasks.PauseAuth:
		t.Weight, t.What = "bad", "Project "+s.Project+": the cloud refuses its credentials"
	case tasks.PauseThrottled:
		t.Label, t.What = "throttled", "Project "+s.Project+": the cloud asked for fewer calls"
	}
	if !s.Pause.Until.IsZero() {
		t.What += ", for another " + took(s.Pause.Until.Sub(now))
	}
	return t
}

// moving finds what is under way, of all projects that the key is for.
func (v *visit) moving(p *overview) error {
	filters := []tasks.OperationFilter{{Open: true}}
	if len(v.key.Projects) > 0 {
		filters = nil
		for _, alias := range v.key.Projects {
			filters = append(filters, tasks.OperationFilter{Open: true, Project: alias})
		}
	}
	for _, f := range filters {
		ops, _, err := v.api.Operations(v.Context(), f, movingShown, "")
		if err != nil {
			return err
		}
		for _, op := range ops {
			p.Moving = append(p.Moving, progressOf(op))
		}
	}
	slices.SortStableFunc(p.Moving, func(a, b progress) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	p.Moving = p.Moving[:min(len(p.Moving), movingShown)]
	all, _, err := v.api.Redrives(v.Context(), movingShown, "")
	for _, x := range all {
		if !x.Done() {
			p.Redrives = append(p.Redrives, x)
		}
	}
	return err
}
