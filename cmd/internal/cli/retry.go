package cli

import (
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) retryCommand() *cobra.Command {
	var filter api.RetryRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "retry OPERATION",
		Short: "Retry the failed desktops of an operation, or those on hold",
		Long: `Queues the failed desktops of an operation again, or with --held those on hold.
Attempts start from 0, each desktop is read before it is sent, and the operation
gets a new deadline, 24 hours from now, unless it has a later one. A desktop that
was on hold is put on hold again if nothing has changed.`,
		Example: `  detachd retry d6i2kg1ksdu9f6fldk0g --code WKS.00010032
  detachd retry d6i2kg1ksdu9f6fldk0g --held`,
		Args: needs("OPERATION", "detachd list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			done, err := c.Retry(cmd.Context(), args[0], filter)
			if err != nil {
				return ofOperation(args[0], err)
			}
			if asJSON {
				return printJSON(p.Stdout, done)
			}
			p.out("%s of operation %s queued again", count(done.Retried, "desktop"), done.OperationID)
			if done.Retried > 0 {
				return nil
			}
			if filter.Code != "" {
				p.note("no desktop has the code %s; detachd status %s shows the codes", printable(filter.Code), done.OperationID)
				return nil
			}
			if op, err := c.poll(cmd.Context(), args[0]); err == nil && !filter.Held && op.Counts.Held > 0 {
				p.note("%s on hold: add --held to retry", count(op.Counts.Held, "desktop"))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&filter.Held, "held", false, "retry desktops on hold instead of failed ones")
	cmd.Flags().StringVar(&filter.Code, "code", "", "only desktops with this error `code`")
	cmd.Flags().StringVar(&filter.Reason, "reason", "", reasonHelp)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
