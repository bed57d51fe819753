package dashboard

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
)

// calls is the page of an operation's calls to the cloud.
type calls struct {
	Op   progress
	Now  time.Time
	Rows []tasks.Call
	All  int
	More more
}

func (c calls) refreshAfter() int { return operationRefresh(c.Op.Operation, c.Now) }

// operationRefresh returns the seconds between refreshes of a page about an operation.
func operationRefresh(op tasks.Operation, now time.Time) int {
	switch {
	case op.Sealed(), op.NotBefore.After(now):
		return 15 // somebody may retry or cancel it
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
	p := calls{Op: progressOf(op.Operation), Now: v.d.Now(), All: len(all)}
	first, err := wholeNumber("page_token", v.token())
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
	return v.page(http.StatusOK, "calls", v.operationTitle("Calls of", op.Operation), p)
}

// momentsOf returns the timeline of an operation, with what is still to come at the end.
func momentsOf(op tasks.Operation, all []tasks.Call, now time.Time) []moment {
	what := "accepted: " + plural(op.Total, "desktop", "desktops")
	out := []moment{{At: op.AcceptedAt, What: what, By: op.RequestedBy, Dot: tasks.StateQueued}}
	if op.NotBefore.After(op.AcceptedAt) {
		out = append(out, moment{At: op.NotBefore, What: "starts", Dot: tasks.StateQueued})
	}
	if op.UndoOf == "" && !op.DueAt.Equal(op.Begins()) {
		out = append(out, moment{At: op.DueAt, What: "remove access by", Dot: tasks.StateHeld})
	}
	if c := op.Clearance; c != nil {
		out = append(out, moment{At: c.AskedAt, What: "waits for an approval: " + c.Question(), Dot: tasks.StateHeld})
		if c.State != tasks.ClearanceWaiting {
			out = append(out, moment{At: c.DecidedAt, What: string(c.State) + ": " + c.Reason, By: c.DecidedBy, Dot: decisionDot(c.State)})
		}
	}
	if len(all) > 0 {
		out = append(out, moment{At: all[0].At, What: "first call to the cloud", By: all[0].Worker, Dot: tasks.StateSending})
	}
	if len(all) > 1 {
		last := all[len(all)-1]
		out = append(out, moment{At: last.At, What: callsText(all), By: last.Worker, Dot: tasks.StateAccepted})
	}
	if op.Done() {
		out = append(out, endOf(op)...)
	} else if op.Deadline.After(now) {
		out = append(out, moment{At: op.Deadline, What: "deadline: desktops not sent by then fail", Dot: tasks.StateCancelled})
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.At.Compare(b.At) })
	return out
}

func decisionDot(s tasks.ClearanceState) tasks.State {
	if s == tasks.ClearanceApproved {
		return tasks.StateDetached
	}
	return tasks.StateCancelled
}

// callsText summarizes calls.
func callsText(all []tasks.Call) string {
	refused, unanswered, desktops := 0, 0, 0
	for _, c := range all {
		switch {
		case !c.Answered:
			unanswered++
		case c.Status >= 300:
			refused++
		default:
			desktops += c.Refused
		}
	}
	text := "last of " + plural(len(all), "call", "calls")
	if refused > 0 {
		text += ", " + thousands(refused) + " refused"
	}
	if desktops > 0 {
		text += ", " + plural(desktops, "desktop", "desktops") + " refused in other calls"
	}
	if unanswered > 0 {
		text += ", " + thousands(unanswered) + " without a response"
	}
	return text
}

// endOf returns the moments at which a finished operation ended.
func endOf(op tasks.Operation) []moment {
	what := "finished: " + plural(op.Counts.Detached, "desktop", "desktops") + " confirmed " + stateOf(op, tasks.StateDetached)
	dot := tasks.StateDetached
	if n := op.Counts.Failed; n > 0 {
		what, dot = what+", "+thousands(n)+" failed", tasks.StateFailed
	}
	if n := op.Counts.Held; n > 0 {
		what += ", " + thousands(n) + " on hold"
		if op.Counts.Failed == 0 {
			dot = tasks.StateHeld
		}
	}
	end := moment{At: op.EndedAt, What: what, Dot: dot}
	if !op.Sealed() {
		return []moment{end}
	}
	return []moment{end, {At: op.EndedAt, What: "audit trail sealed: " + op.Seal, Dot: dot}}
}
