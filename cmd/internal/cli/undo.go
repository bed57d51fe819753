package cli

import (
	"crypto/rand"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) undoCommand() *cobra.Command {
	var req api.UndoRequest
	var wait waitOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "undo OPERATION",
		Short: "Give the desktops of an operation back to the users who lost them",
		Long: `Submits an operation that gives desktops back to exactly the users who lost them
by another operation, with their data. Without --desktop these are all that it
detached. Before each call the desktop and its users are read: if somebody else
has it, or the user is gone or locked, it is put on hold. Many desktops wait for
the approval of another person.`,
		Example: `  detachd undo d6i2kg1ksdu9f6fldk0g --reason "the wrong list" --wait
  detachd undo d6i2kg1ksdu9f6fldk0g --desktop 1f0a8f0e-7c0b-4f3e-9a55-9d1d2c3b4a5f --reason "she stays"`,
		Args: needs("OPERATION", "detachd list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			if err := needReason("undo", req.Reason); err != nil {
				return err
			}
			if req.IdempotencyKey == "" {
				req.IdempotencyKey = "undo-" + strings.ToLower(rand.Text())
				p.note("idempotency key: %s", req.IdempotencyKey)
			}
			undo, err := c.Undo(cmd.Context(), args[0], req)
			if err != nil {
				return ofOperation(args[0], err)
			}
			if wait.on {
				return p.waitAndShow(cmd.Context(), c, []tasks.Operation{undo.Operation}, wait, asJSON, listView{})
			}
			if asJSON {
				return printJSON(p.Stdout, undo)
			}
			p.out("operation %s: gives %s of operation %s back", undo.ID, count(undo.Total, "desktop"), undo.UndoOf)
			p.note("detachd status %s --wait follows it", undo.ID)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&req.Desktops, "desktop", nil, "only this desktop, by its `id`; may be repeated")
	f.StringVar(&req.Reason, "reason", "", reasonHelp+"; required")
	f.StringVar(&req.Ticket, "ticket", "", "`ticket`, for example the number of a change")
	f.StringVar(&req.IdempotencyKey, "idempotency-key", "",
		"`name` of this request, so that repeating it is safe (default: a new one, which is printed)")
	wait.flags(f)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
