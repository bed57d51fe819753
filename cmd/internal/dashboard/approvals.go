package dashboard

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// approval is the question of an operation, on its page.
type approval struct {
	tasks.Clearance
	Second string // the person who may not approve it, if it takes another one; else empty
	Asks   bool   // it waits, and the visitor may reject it
	May    bool   // and approve it
}

// approvalOf is nil if the operation has not asked.
func (v *visit) approvalOf(op tasks.Operation) *approval {
	if op.Clearance == nil {
		return nil
	}
	a := &approval{Clearance: *op.Clearance}
	if a.NeedsSecondPerson() {
		a.Second = cmp.Or(op.Owner, op.RequestedBy, "the requester")
	}
	a.Asks = op.AwaitsApproval() && v.may(access.Approver)
	a.May = a.Asks && (a.Second == "" || !op.SamePerson(v.key.Name, v.key.Owner))
	return a
}

// Question is a sentence.
func (a approval) Question() string {
	text := a.Clearance.Question()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// waitingTodos lists the operations that wait for an approval, the first to expire first.
func (v *visit) waitingTodos(waiting int) ([]todo, error) {
	if waiting == 0 {
		return nil, nil
	}
	ops, err := v.operationsOf(tasks.OperationFilter{Waiting: true})
	if err != nil {
		return nil, err
	}
	ops = slices.DeleteFunc(ops, func(op tasks.Operation) bool { return op.Clearance == nil }) // decided on meanwhile
	slices.SortStableFunc(ops, func(a, b tasks.Operation) int { return a.Clearance.ExpiresAt.Compare(b.Clearance.ExpiresAt) })
	var out []todo
	for _, op := range ops[:min(len(ops), shownAtOnce)] {
		a := v.approvalOf(op)
		verb := "Review"
		if a.May {
			verb = "Decide…"
		}
		what := cmp.Or(op.Ticket, op.Reason, op.ID) + " of project " + op.Project + ", requested by " + op.RequestedBy
		why := a.Question() + " It is cancelled in " + took(max(0, a.ExpiresAt.Sub(v.d.Now()).Truncate(time.Minute))) + "."
		if a.Second != "" {
			why += " Another person than " + a.Second + " must approve it."
		}
		out = append(out, todo{Weight: "warn", Label: "to approve", What: what, Why: why, Asked: a.AskedAt,
			Acts: []act{{verb, "/operations/" + op.ID + "#approval", a.May}}})
	}
	if more := waiting - len(out); more > 0 {
		out = append(out, todo{Weight: "warn", Label: "to approve",
			What: plural(more, "more operation waits", "more operations wait") + " for an approval",
			Acts: []act{{"Review all", "/operations?waiting=1", false}}})
	}
	return out, nil
}

// approve approves what the plan page showed; the page comes first if the operation waits
// because of the limit.
func (v *visit) approve() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	id, hash := v.PathValue("id"), v.PostFormValue("hash")
	op, err := v.api.OperationState(v.Context(), id)
	if err != nil {
		return err
	}
	if a := v.approvalOf(op.Operation); hash == "" && a != nil && a.May && a.Why == tasks.WhyLimit {
		shown, err := v.api.PlanOperation(v.Context(), api.PlanOfOperation{Operation: id, Reason: reason})
		if err != nil {
			return err
		}
		p := plan{Form: true, Reason: reason}
		p.add(shown, more{})
		return v.renderPlan(p)
	}
	if _, err := v.api.Approve(v.Context(), id, api.ApproveRequest{Plan: hash, Reason: reason}); err != nil {
		return err
	}
	return v.redirect(v.operationPath(), "Approved. The operation begins.")
}

func (v *visit) reject() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	done, err := v.api.Reject(v.Context(), v.PathValue("id"), reason)
	if err != nil {
		return err
	}
	return v.redirect(v.operationPath(), "Rejected. "+plural(done.Counts.Cancelled, "desktop", "desktops")+" cancelled.")
}

func (v *visit) stopAll() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	if _, err := v.api.StopAll(v.Context(), reason); err != nil {
		return err
	}
	return v.redirect("/projects", "All projects are stopped. No call begins.")
}

func (v *visit) resumeAll() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	if _, err := v.api.ResumeAll(v.Context(), reason); err != nil {
		return err
	}
	return v.redirect("/projects", "The stop of all projects has ended.")
}

// stopped is the stop of all projects, which every page shows; nil: there is none.
func (v *visit) stopped() (*tasks.Pause, error) {
	list, err := v.api.Projects(v.Context())
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		if x.Pause != nil && x.Pause.Kind == tasks.PauseStop {
			return x.Pause, nil
		}
	}
	return nil, nil
}
