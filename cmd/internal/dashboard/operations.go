package dashboard

import (
	"net/http"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
)

// progress is an operation with the bar of its counts.
type progress struct {
	tasks.Operation
	Bar    []barPart
	States []stateCount // those that there are
}

// barPart is a stretch of a bar, in percent.
type barPart struct {
	State       tasks.State
	From, Width float64
}

// stateCount is how many desktops are in a state.
type stateCount struct {
	State tasks.State
	N     int
}

// settledFirst is the order of a bar: what is done grows from the left.
var settledFirst = []tasks.State{tasks.Detached, tasks.Resolved, tasks.Cancelled, tasks.Failed, tasks.Held, tasks.Accepted, tasks.Sending, tasks.Queued}

func progressOf(op tasks.Operation) progress {
	p := progress{Operation: op}
	from := 0.0
	for _, s := range settledFirst {
		n := op.Counts.Of(s)
		if n == 0 {
			continue
		}
		w := share(n, op.Total)
		p.Bar = append(p.Bar, barPart{s, from, w})
		p.States = append(p.States, stateCount{s, n})
		from += w
	}
	return p
}

// Settled is how many desktops need nothing more.
func (p progress) Settled() int {
	return p.Total - p.Counts.Queued - p.Counts.Sending - p.Counts.Accepted
}

// operations is the list of operations.
type operations struct {
	choice
	RequestedBy, Ticket, From, To string
	Open                          bool
	Rows                          []progress
	More                          more
	Filtered                      bool
	Moves                         bool
}

func (o operations) refreshAfter() int {
	if o.Moves {
		return 3
	}
	return 15
}

func (v *visit) operations() error {
	p := operations{RequestedBy: v.param("requested_by"), Ticket: v.param("ticket"), From: v.param("from"), To: v.param("to"), Open: v.param("open") != ""}
	var err error
	if p.choice, err = v.choose(v.param("project")); err != nil {
		return err
	}
	var at times
	f := tasks.OperationFilter{Project: p.Project, RequestedBy: p.RequestedBy, Ticket: p.Ticket, Open: p.Open, From: at.parse("from", p.From), To: at.parse("to", p.To)}
	if err := at.err(); err != nil {
		return err
	}
	p.Filtered = f != tasks.OperationFilter{Project: f.Project} || f.Project != "" && !p.Bound
	ops, next, err := fill(v.token(), func(size int, token string) ([]tasks.Operation, string, error) {
		return v.api.Operations(v.Context(), f, size, token)
	})
	if err != nil {
		return err
	}
	for _, op := range ops {
		p.Rows = append(p.Rows, progressOf(op))
		p.Moves = p.Moves || !op.Done()
	}
	p.More = v.more(next, len(ops))
	return v.page(http.StatusOK, "operations", "Operations", p)
}

// calls is the page of an operation's calls to the cloud, and of its moments.
type calls struct {
	Op      progress
	Moments []moment
	Rows    []tasks.Call
	All     int
	More    more
}

func (c calls) refreshAfter() int { return movingOperation(c.Op.Operation) }

// movingOperation says how soon a page about an operation is to be made again.
func movingOperation(op tasks.Operation) int {
	if op.Done() && op.Seal != "" {
		return 0
	}
	return 2
}

// moment is something that happened to an operation.
type moment struct {
	At   time.Time
	What string
	By   string
	Dot  tasks.State // colours it
}

func (v *visit) calls() error {
	op, err := v.api.OperationState(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	all, err := v.api.Calls(v.Context(), op.ID)
	if err != nil {
		return err
	}
	p := calls{Op: progressOf(op.Operation), All: len(all), Moments: momentsOf(op.Operation, all, v.d.Now())}
	first, err := whole("page_token", v.token())
	if err != nil {
		return err
	}
	first = min(max(0, first), len(all))
	end := min(first+rowsShown, len(all))
	p.Rows = all[first:end]
	next := ""
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	p.More = v.more(next, len(p.Rows))
	return v.page(http.StatusOK, "calls", "Timeline of "+op.ID, p)
}

// momentsOf tells an operation's life in the order in which it happened; what is
// still to come is at the end.
func momentsOf(op tasks.Operation, all []tasks.Call, now time.Time) []moment {
	out := []moment{{At: op.AcceptedAt, What: "accepted: " + plural(op.Total, "desktop", "desktops"), By: op.RequestedBy, Dot: tasks.Queued}}
	if op.NotBefore.After(op.AcceptedAt) {
		out = append(out, moment{At: op.NotBefore, What: "may begin", Dot: tasks.Queued})
	}
	if !op.DueAt.Equal(op.AcceptedAt) {
		out = append(out, moment{At: op.DueAt, What: "access should be gone", Dot: tasks.Held})
	}
	if len(all) > 0 {
		first, last, refused, unanswered := all[0], all[len(all)-1], 0, 0
		for _, c := range all {
			switch {
			case !c.Answered:
				unanswered++
			case c.Status >= 300:
				refused++
			}
		}
		out = append(out, moment{At: first.At, What: "first call to the cloud", By: first.Worker, Dot: tasks.Sending})
		if len(all) > 1 {
			what := "last of " + plural(len(all), "call", "calls")
			if refused > 0 {
				what += ", " + plural(refused, "was", "were") + " refused"
			}
			if unanswered > 0 {
				what += ", " + plural(unanswered, "was", "were") + " not answered"
			}
			out = append(out, moment{At: last.At, What: what, By: last.Worker, Dot: tasks.Accepted})
		}
	}
	if op.Done() {
		end := moment{At: op.EndedAt, What: "ended: " + plural(op.Counts.Detached, "desktop is", "desktops are") + " proven detached", Dot: tasks.Detached}
		if n := op.Counts.Failed; n > 0 {
			end.What, end.Dot = end.What+", "+thousands(n)+" failed", tasks.Failed
		}
		if n := op.Counts.Held; n > 0 {
			end.What += ", " + thousands(n) + " held"
		}
		out = append(out, end)
		if op.Seal != "" {
			out = append(out, moment{At: op.EndedAt, What: "trail sealed: " + op.Seal, Dot: tasks.Detached})
		}
	} else if op.Deadline.After(now) {
		out = append(out, moment{At: op.Deadline, What: "deadline: what is not sent by then is failed", Dot: tasks.Cancelled})
	}
	sortMoments(out)
	return out
}
