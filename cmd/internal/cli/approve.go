package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

type approveOptions struct {
	reason    string
	yes, json bool
}

func (p *Program) approveCommand() *cobra.Command {
	var o approveOptions
	cmd := &cobra.Command{
		Use:   "approve OPERATION",
		Short: "Let an operation begin that waits for an approval",
		Long: `Shows why the operation waits and who would lose access, asks, and lets it begin:
exactly what was shown, so that a desktop that has other users by then is put on
hold. Its deadline counts from then. It takes the role approver or admin. Beyond approval.second_person_above
desktops, the person who asked cannot approve it: two keys of one person are one
person. In scripts, confirm with --yes.`,
		Example: `  detachd list --waiting
  detachd approve d6i2kg1ksdu9f6fldk0g --reason "the site is closed, HR confirmed it"`,
		Args: needs("OPERATION", "detachd list --waiting"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			return p.approve(cmd.Context(), c, args[0], o)
		}),
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", reasonHelp+"; required")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "approve without a question")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) approve(ctx context.Context, c *client, id string, o approveOptions) error {
	if err := needReason("approve", o.reason); err != nil {
		return err
	}
	op, err := c.poll(ctx, id)
	if err != nil {
		return ofOperation(id, err)
	}
	if !op.AwaitsApproval() {
		return decided(id, op)
	}
	p.say("operation %s of project %s, requested by %s: %s", id, op.Project, printable(requester(op)), printable(op.Clearance.Question()))
	if !o.yes && !interactive(p.Stdin) {
		return p.agreed(op.Clearance.Desktops) // refuses, before anything is read
	}
	request := api.ApproveRequest{Reason: o.reason}
	if op.Clearance.Why == tasks.WhyLimit {
		if request.Plan, err = p.planToApprove(ctx, c, id, o); err != nil {
			return answered(id, op, err)
		}
	}
	if !o.yes {
		if err := p.agreed(op.Clearance.Desktops); err != nil {
			return err
		}
	}
	done, err := c.Approve(ctx, id, request)
	if err != nil {
		return answered(id, op, err)
	}
	if o.json {
		return printJSON(p.Stdout, done)
	}
	p.out("operation %s approved: it begins, deadline %s", id, clock(done.Deadline))
	return nil
}

// planToApprove shows what is left of an operation that waits, and returns the hash of that.
func (p *Program) planToApprove(ctx context.Context, c *client, id string, o approveOptions) (hash string, err error) {
	plan, err := c.PlanOperation(ctx, api.PlanOfOperation{Operation: id, Reason: o.reason})
	if err != nil {
		return "", err
	}
	plans := []api.Plan{plan}
	summary, err := p.readPlans(ctx, c, plans)
	if err != nil {
		return "", err
	}
	if o.json {
		p.say("%s", summary)
		return plans[0].Hash, nil
	}
	return plans[0].Hash, p.showPlans(summary, plans)
}

func (p *Program) rejectCommand() *cobra.Command {
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reject OPERATION",
		Short: "Cancel an operation that waits for an approval",
		Long: `Cancels everything of the operation that was not sent. It takes the role approver
or admin; one's own operation may be rejected.`,
		Example: `  detachd reject d6i2kg1ksdu9f6fldk0g --reason "the list names the whole site"`,
		Args:    needs("OPERATION", "detachd list --waiting"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if err := needReason("reject", reason); err != nil {
				return err
			}
			done, err := c.Reject(cmd.Context(), args[0], reason)
			if err != nil {
				return answered(args[0], tasks.Operation{}, err)
			}
			if asJSON {
				return printJSON(p.Stdout, done)
			}
			p.out("operation %s rejected: %s cancelled", args[0], count(done.Counts.Cancelled, "desktop"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonHelp+"; required")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func needReason(command, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return usage("add --reason", "%s needs a reason, for those who ask later; nothing was changed", command)
	}
	return nil
}

// agreed refuses unless the number of desktops is typed.
func (p *Program) agreed(desktops int) error {
	if !interactive(p.Stdin) {
		return usage("read it with detachd status, then add --yes",
			"approving %s needs confirmation; nothing was changed", count(desktops, "desktop"))
	}
	n, err := p.askNumber(fmt.Sprintf("Type %d to approve it: ", desktops), "approved")
	if err != nil {
		return err
	}
	if n != desktops {
		return usage("run it again, and type the number of desktops",
			"it asks for %s, not %d; nothing was changed", count(desktops, "desktop"), n)
	}
	return nil
}

// answered explains a refusal of :approve or :reject.
func answered(id string, op tasks.Operation, err error) error {
	var same *tasks.SamePersonError
	var p *api.Problem
	err = localCause(err)
	switch {
	case errors.As(err, &same), errors.As(err, &p) && p.Code == "same_person":
		return fail(exitNotAuthorised, "ask another approver to run: detachd approve "+id+" --reason …", "%w", err)
	case errors.Is(err, tasks.ErrNotWaiting), errors.As(err, &p) && p.Code == "not_waiting":
		return decided(id, op)
	}
	return ofOperation(id, err)
}

func decided(id string, op tasks.Operation) error {
	text := "it never did, or was decided on, cancelled or retried meanwhile"
	if c := op.Clearance; c != nil && c.State != tasks.ClearanceWaiting {
		text = decisionText(*c)
	}
	return usage("detachd status "+id, "operation %s does not wait for an approval: %s; nothing was changed", id, text)
}

// requester is who asked for an operation, with the person if it is known.
func requester(op tasks.Operation) string {
	if op.Owner == "" || op.Owner == op.RequestedBy {
		return op.RequestedBy
	}
	return op.RequestedBy + " (" + op.Owner + ")"
}

// decisionText is the answer to the question of an operation.
func decisionText(c tasks.Clearance) string {
	text := string(c.State) + " " + clock(c.DecidedAt)
	if c.State != tasks.ClearanceExpired {
		text += " by " + c.DecidedBy
	}
	return text + ": " + c.Reason
}

// waitingFields are the lines of status about the approval of an operation.
func waitingFields(op tasks.Operation, now time.Time, field func(name, value string)) {
	c := op.Clearance
	switch {
	case c == nil:
	case op.AwaitsApproval():
		field("waits", "for an approval, and nothing is sent: "+c.Question())
		if c.NeedsSecondPerson() {
			field("", "another person than "+requester(op)+" must approve it")
		}
		field("", "without an answer it is cancelled "+clock(c.ExpiresAt)+", in "+ahead(c.ExpiresAt.Sub(now)))
		field("next", "detachd approve "+op.ID+" --reason …, or detachd reject "+op.ID+" --reason …")
	default:
		field("approval", decisionText(*c))
	}
}

// waitingTable lists operations that wait for an approval.
func (p *Program) waitingTable(ops []tasks.Operation) *table {
	t := &table{header: []string{
		"OPERATION", "PROJECT", "DESKTOPS", "USED", "ALLOWED", "REQUESTED BY", "EXPIRES IN", "WHY", "SECOND PERSON", "TICKET",
	}, less: []string{"TICKET", "PROJECT", "ALLOWED", "USED", "SECOND PERSON"}}
	for _, op := range ops {
		c := op.Clearance
		if c == nil { // decided on while the list was read
			continue
		}
		second := ""
		if c.NeedsSecondPerson() {
			second = "yes"
		}
		t.add(op.ID, op.Project, strconv.Itoa(c.Desktops), strconv.Itoa(c.Used), strconv.Itoa(c.Allowed), requester(op),
			ahead(c.ExpiresAt.Sub(p.Now())), strings.ReplaceAll(string(c.Why), "_", "-"), second, op.Ticket)
	}
	return t
}
