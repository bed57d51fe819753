package dashboard

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
)

// calls is the page of an operation's calls to the cloud, and of its moments.
type calls struct {
	Op      progress
	Now     time.Time
	Moments []moment
	Rows    []tasks.Call
	All     int
	More    more
}

func (c calls) refreshAfter() int { return movingOperation(c.Op.Operation, c.Now) }

// movingOperation says how soon a page about an operation is to be made again.
func movingOperation(op tasks.Operation, now time.Time) int {
	switch {
	case op.Sealed():
		return 0
	case op.NotBefore.After(now):
		return 15
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
	p := calls{Op: progressOf(op.Operation), Now: v.d.Now(), All: len(all), Moments: momentsOf(op.Operation, all, v.d.Now())}
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
	return v.page(http.StatusOK, "calls", v.operationTitle("Timeline of", op.Operation), p)
}

// momentsOf tells an operation's life in the order in which it happened; what is
// still to come is at the end.
func momentsOf(op tasks.Operation, all []tasks.Call, now time.Time) []moment {
	out := []moment{{At: op.AcceptedAt, What: "accepted: " + plural(op.Total, "desktop", "desktops"), By: op.RequestedBy, Dot: tasks.StateQueued}}
	if op.NotBefore.After(op.AcceptedAt) {
		out = append(out, moment{At: op.NotBefore, What: "starts", Dot: tasks.StateQueued})
	}
	if !op.DueAt.Equal(op.Begins()) {
		out = append(out, moment{At: op.DueAt, What: "access should be gone", Dot: tasks.StateHeld})
	}
	if len(all) > 0 {
		first, last, refused, unanswered, desktops := all[0], all[len(all)-1], 0, 0, 0
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
		out = append(out, moment{At: first.At, What: "first call to the cloud", By: first.Worker, Dot: tasks.StateSending})
		if len(all) > 1 {
			what := "last of " + plural(len(all), "call", "calls")
			if refused > 0 {
				what += ", " + plural(refused, "was", "were") + " refused"
			}
			if desktops > 0 {
				what += ", " + plural(desktops, "desktop was", "desktops were") + " refused in others"
			}
			if unanswered > 0 {
				what += ", " + plural(unanswered, "was", "were") + " not answered"
			}
			out = append(out, moment{At: last.At, What: what, By: last.Worker, Dot: tasks.StateAccepted})
		}
	}
	if op.Done() {
		end := moment{At: op.EndedAt, What: "ended: " + plural(op.Counts.Detached, "desktop is", "desktops are") + " proven detached", Dot: tasks.StateDetached}
		if n := op.Counts.Failed; n > 0 {
			end.What, end.Dot = end.What+", "+thousands(n)+" failed", tasks.StateFailed
		}
		if n := op.Counts.Held; n > 0 {
			end.What += ", " + thousands(n) + " held"
			if op.Counts.Failed == 0 {
				end.Dot = tasks.StateHeld
			}
		}
		out = append(out, end)
		if op.Sealed() {
			out = append(out, moment{At: op.EndedAt, What: "trail sealed: " + op.Seal, Dot: end.Dot})
		}
	} else if op.Deadline.After(now) {
		out = append(out, moment{At: op.Deadline, What: "deadline: what is not sent by then is failed", Dot: tasks.StateCancelled})
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.At.Compare(b.At) })
	return out
}
