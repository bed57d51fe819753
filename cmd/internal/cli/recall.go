package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) recallCommand() *cobra.Command {
	var req api.RecallRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "recall",
		Short: "Take one person back out of requests that were sent earlier",
		Long: `For a person who does not leave after all. In all operations that were accepted until
now, the rows of this person that are not sent are cancelled, whatever they wait for;
rows of others stay. A desktop that others are to lose too is put on hold. What was
sent already is too late: it is listed, with the command that gives it back. What is
in a call is followed with detachd recall show.

The exit code is 0 if all rows of the person are cancelled, 3 if any was too late or
nothing names the person, 4 if some are on hold, 5 if some are in a call.

Later requests that name the person are not concerned.`,
		Example: `  detachd recall --user zoe --source hr --reason "the contract was extended"
  detachd recall --user zoe --ticket HR-4711 --reason "the wrong person"
  detachd recall show d6i2kg1ksdu9f6fldk0g`,
	}
	addSubcommands(cmd, p.recallListCommand(), p.recallShowCommand())
	cmd.RunE = p.run(func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().NFlag() == 0 {
			return cmd.Help()
		}
		return p.recall(cmd.Context(), req, asJSON)
	})
	f := cmd.Flags()
	f.StringVar(&req.User, "user", "", "`name` of the user, as the requests have it, in the same case; required")
	f.StringVar(&req.Source, "source", "", "only from operations requested by this `name`")
	f.StringVar(&req.Ticket, "ticket", "", "only from operations of this `ticket`")
	f.StringVar(&req.Project, "project", "", "only from operations of this project `alias`")
	f.StringVar(&req.Reason, "reason", "", reasonHelp+"; required")
	f.StringVar(&req.IdempotencyKey, "idempotency-key", "",
		"`name` of this recall, so that repeating it is safe (default: a new one, which is printed)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) recall(ctx context.Context, req api.RecallRequest, asJSON bool) error {
	if req.User == "" {
		return usage("add --user", "--user is missing; nothing was recalled")
	}
	if err := needReason("recall", req.Reason); err != nil {
		return err
	}
	c, err := p.connect("")
	if err != nil {
		return err
	}
	defer c.close()
	if req.IdempotencyKey == "" {
		req.IdempotencyKey = "recall-" + strings.ToLower(rand.Text())
		p.note("idempotency key: %s", req.IdempotencyKey)
	}
	x, err := c.Recall(ctx, req)
	if err != nil {
		return err
	}
	return p.showRecall(x, asJSON)
}

func (p *Program) recallListCommand() *cobra.Command {
	return listing(p, &cobra.Command{
		Use:     "list",
		Short:   "List recalls, the latest first",
		Example: "  detachd recall list --limit 5",
	}, "there are no recalls", recallTable, func(ctx context.Context, c *client, size int, token string) ([]tasks.Recall, string, error) {
		return c.Recalls(ctx, size, token)
	})
}

func (p *Program) recallShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show RECALL",
		Short:   "Show what became of the desktops of a recall",
		Example: "  detachd recall show d6i2kg1ksdu9f6fldk0g",
		Args:    needs("RECALL", "detachd recall list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.RecallByID(cmd.Context(), args[0])
			var problem *api.Problem
			if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
				return usage("detachd recall list shows the recalls", "there is no recall %s", shown(args[0]))
			}
			if err != nil {
				return err
			}
			return p.showRecall(x, asJSON)
		}),
	}
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// recallOutcomes are the outcomes in the words of people.
var recallOutcomes = map[tasks.RecallOutcome]string{
	tasks.RecallCancelled: "cancelled", tasks.RecallHeld: "on hold", tasks.RecallInCall: "in a call", tasks.RecallQueued: "to be cancelled",
	tasks.RecallTooLate: "too late", tasks.RecallFailed: "failed", tasks.RecallNothing: "nothing to do",
}

// showRecall shows the rows of a recall, and what is left to do.
func (p *Program) showRecall(x tasks.RecallResult, asJSON bool) error {
	if asJSON {
		if err := printJSON(p.Stdout, x); err != nil {
			return err
		}
		return recallResult(x)
	}
	if len(x.Rows) > 0 {
		t := &table{header: []string{"ROW", "OUTCOME", "STATE NOW", "OPERATION", "PROJECT", "REQUESTED BY", "ALSO OF"}}
		for _, row := range x.Rows {
			t.add(row.ID, recallOutcomes[row.Outcome], stateName(row.State), row.OperationID, row.Project, row.RequestedBy,
				strings.Join(row.Others, ", "))
		}
		if err := p.show(t); err != nil {
			return err
		}
	}
	n := x.Counts
	p.out("recall %s of %s: %s cancelled, %d too late, %d on hold, %d in a call", x.ID, printable(x.User),
		count(n.Cancelled, "row"), n.TooLate, n.Held, n.InCall)
	if x.More {
		p.say("only the first %d rows are listed", len(x.Rows))
	}
	if n.Failed > 0 {
		p.say("what has failed takes nothing away: a retry is cancelled")
	}
	for _, undo := range x.Undo {
		p.say("to give back what was too late: %s", printable(undo.Command))
	}
	if len(x.OtherSpellings) > 0 {
		p.say("operations also name %s: if that is the same person, recall this name too", printable(strings.Join(x.OtherSpellings, ", ")))
	}
	if x.AcceptedLater > 0 {
		p.say("%s came later and are not concerned: recall again if they are wrong too", count(x.AcceptedLater, "row"))
	}
	return recallResult(x)
}

// recallResult is the exit code of a recall: 0 only if it took the person out of something, and
// all of it was in time.
func recallResult(x tasks.RecallResult) error {
	n := x.Counts
	switch {
	case n.Total() == 0:
		return fail(exitFailed, "compare the name with the request; one that names only desktops is recognised when these are read",
			"no operation that matches names %s: nothing was cancelled", shown(x.User))
	case n.TooLate > 0:
		return fail(exitFailed, "undo it, see above: until then the access is gone",
			"too late for %s of %s", count(n.TooLate, "row"), shown(x.User))
	case n.InCall+n.Queued > 0:
		return fail(exitRunning, "detachd recall show "+x.ID,
			"a call is open for %s of %s: no other call follows", count(n.InCall+n.Queued, "row"), shown(x.User))
	case n.Held > 0:
		return fail(exitHeld, "submit the others again, then cancel or dismiss the row",
			"on hold: %s, because others are to lose the desktop too", count(n.Held, "row"))
	}
	return nil
}

func recallTable(all ...tasks.Recall) *table {
	t := &table{
		header: []string{"RECALL", "USER", "FROM", "REQUESTED BY", "AT", "REASON"},
		less:   []string{"REASON", "REQUESTED BY"},
	}
	for _, x := range all {
		t.add(x.ID, x.User, recallText(x), x.RequestedBy, clock(x.CreatedAt), x.Reason)
	}
	return t
}

// recallText describes from which operations a person was recalled.
func recallText(x tasks.Recall) string {
	text := cancelText(tasks.CancellationFilter{RequestedBy: x.Source, Ticket: x.Ticket, Project: x.Project})
	if text == "" {
		return "all operations"
	}
	return text
}

func completeRecalls(ctx context.Context, p *Program, _ []string) []cobra.Completion {
	return asked(p, func(c *client) ([]tasks.Recall, error) {
		all, _, err := c.Recalls(ctx, mostCompletions, "")
		return all, err
	}, func(x tasks.Recall) cobra.Completion { return described(x.ID, x.User, recallText(x)) })
}
