package dashboard

import (
	"cmp"
	"net/http"
	"time"

	"github.com/detachd/detachd/tasks"
)

// progress is an operation with the bar of its counts.
type progress struct {
	tasks.Operation
	Bar    []barPart
	States []stateCount // without empty ones
}

// barPart is a part of a bar, in percent.
type barPart struct {
	State       tasks.State
	From, Width float64
}

// stateCount is the number of desktops in a state.
type stateCount struct {
	State tasks.State
	N     int
}

// barOrder puts finished desktops first, so that a bar grows from the left.
var barOrder = []tasks.State{
	tasks.StateDetached, tasks.StateExpanded, tasks.StateNoDesktop, tasks.StateCancelled, tasks.StateFailed, tasks.StateHeld,
	tasks.StateAccepted, tasks.StateSending, tasks.StateQueued,
}

func progressOf(op tasks.Operation) progress {
	p := progress{Operation: op}
	from := 0.0
	for _, s := range barOrder {
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

// Finished is the number of desktops with no work left.
func (p progress) Finished() int { return p.Total - p.Counts.Unsettled() }

// operations is the list of operations.
type operations struct {
	choice
	RequestedBy, Ticket, From, To string
	Open, Scheduled, Waiting      bool
	Table                         table
	Filtered                      bool
	Views                         []chip
	Active                        []chip
	InProgress                    bool   // any of the rows
	Cancel                        string // address of the preview of a cancellation of what is filtered
}

func (o operations) refreshAfter() int { return secondsIf(o.InProgress, 3, 15) }

func (v *visit) operations() error {
	p := operations{
		RequestedBy: v.param("requested_by"), Ticket: v.param("ticket"), From: v.param("from"), To: v.param("to"),
		Open: v.param("open") != "", Scheduled: v.param("scheduled") != "",
		Waiting: v.param("waiting") != "",
	}
	var err error
	if p.choice, err = v.choose(v.param("project")); err != nil {
		return err
	}
	at := v.times()
	f := tasks.OperationFilter{
		Project: p.Project, RequestedBy: p.RequestedBy, Ticket: p.Ticket, Open: p.Open, Scheduled: p.Scheduled,
		Waiting: p.Waiting,
		From:    at.field("from", &p.From), To: at.field("to", &p.To),
	}
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
	page, err := v.more(next, len(ops)).counted(func() (int, error) { return v.api.CountOperations(v.Context(), f) })
	if err != nil {
		return err
	}
	p.Table = table{
		Caption: "Operations, newest first", Order: "newest first", Page: page, Empty: "No operations match.",
		Columns: []column{{Name: "Operation", Class: "first"}, {Name: "Project"}, {Name: "Requested by"}, {Name: "State"},
			{Name: "Progress", Class: "slim"}, {Name: "Takes"}, {Name: "Desktops", Class: "num"}, {Name: "Failed", Class: "num"},
			{Name: "On hold", Class: "num"}, {Name: "Accepted"}, {Name: "Finished"}, {Name: "Starts"}},
	}
	if p.Scheduled {
		p.Table.Caption, p.Table.Order = "Scheduled operations, next first", "next first"
	}
	if p.Waiting {
		p.Table.Caption = "Operations that wait for an approval, newest first"
	}
	for _, op := range ops {
		p.Table.Rows = append(p.Table.Rows, v.operationRow(progressOf(op)))
		p.InProgress = p.InProgress || op.State(v.d.Now()) == tasks.OperationRunning
	}
	p.Table = v.layOut(p.Table)
	p.Views = []chip{
		{Name: "all", Link: "/operations", On: !p.Filtered}, {Name: "in progress", Link: v.toggled("open", "1"), On: p.Open},
		{Name: "scheduled", Link: v.toggled("scheduled", "1"), On: p.Scheduled},
		{Name: "to approve", Link: v.toggled("waiting", "1"), On: p.Waiting},
	}
	for _, x := range [][3]string{{"project", "project", p.Project}, {"requested_by", "requested by", p.RequestedBy},
		{"ticket", "ticket", p.Ticket}, {"from", "from", p.From}, {"to", "to", p.To}} {
		if x[2] != "" && (x[0] != "project" || !p.Bound) {
			p.Active = append(p.Active, chip{Name: x[1], Value: x[2], Link: v.toggled(x[0], x[2])})
		}
	}
	p.Cancel = "/cancellations/preview"
	if q := v.URL.Query(); p.Filtered {
		for _, other := range append([]string{"page_token", "back", "first"}, operationViews...) {
			q.Del(other)
		}
		p.Cancel = address(p.Cancel, q)
	}
	title := "Operations"
	if p.Scheduled {
		title = "Scheduled operations"
	}
	if p.Waiting {
		title = "Operations to approve"
	}
	return v.page(http.StatusOK, "operations", title, p)
}

// operationCell names an operation by what a person knows of it: its ticket or its reason.
func operationCell(op tasks.Operation) cell {
	c := mainCell{Link: "/operations/" + op.ID, ID: op.ID, Text: cmp.Or(op.Ticket, op.Reason)}
	switch {
	case op.UndoOf != "": // which is always urgent
		c.Tag = "undo"
	case op.Urgent:
		c.Tag = "urgent"
	}
	if op.Ticket != "" {
		c.Reason = op.Reason
	}
	return mainOf(c)
}

// operationState says in one word how an operation is, the worst first.
func operationState(op tasks.Operation, now time.Time) cell {
	switch {
	case op.State(now) == tasks.OperationScheduled:
		return tagCell("", "scheduled")
	case op.AwaitsApproval():
		return tagCell("warn", "to approve")
	case !op.Done():
		done := progress{Operation: op}.Finished()
		return cell{Kind: "tag", V: tagText{"busy", percent(done, op.Total)}, By: "in progress"}
	case op.Counts.Failed > 0:
		return tagCell("bad", "failures")
	case op.Counts.Held > 0:
		return tagCell("warn", "on hold")
	case op.Counts.Detached == 0:
		return tagCell("", "finished")
	}
	return tagCell("good", "finished")
}

func (v *visit) operationRow(op progress) row {
	starts := cell{Blank: true}
	if op.State(v.d.Now()) == tasks.OperationScheduled {
		starts = v.timeCell(op.NotBefore)
	}
	return row{Key: op.ID, Cells: []cell{
		operationCell(op.Operation), textCell(op.Project), textCell(op.RequestedBy), operationState(op.Operation, v.d.Now()),
		barCell(op.Bar, share(op.Finished(), op.Total)), estimateCell(op.Estimate), numCell(op.Total),
		countCell("/operations/"+op.ID+"?state=failed", op.Counts.Failed),
		countCell("/operations/"+op.ID+"?state=held", op.Counts.Held),
		v.timeCell(op.AcceptedAt), v.timeCell(op.EndedAt), starts,
	}}
}
