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
		Short: "Try the failed desktops of an operation again, or those held",
		Long: `Queues the failed desktops of an operation again, or with --held those that are
held. Their attempts start from 0, each is read before anything is sent, and the
operation gets a new deadline, 24 hours from now. What was held is held again if
nothing has changed.`,
		Args: cobra.ExactArgs(1),
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
				p.say("none has the code %s; detachd status %s shows the codes", printable(filter.Code), done.OperationID)
				return nil
			}
			if op, err := c.look(cmd.Context(), args[0]); err == nil && !filter.Held && op.Counts.Held > 0 {
				p.say("%s held: --held looks at them again", are(op.Counts.Held))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&filter.Held, "held", false, "those that are held, in place of those that failed")
	cmd.Flags().StringVar(&filter.Code, "code", "", "only those with that error code")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) cancelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cancel OPERATION",
		Short: "Take back what an operation has not sent yet",
		Args:  cobra.ExactArgs(1),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			done, err := c.Cancel(cmd.Context(), args[0])
			if err != nil {
				return ofOperation(args[0], err)
			}
			if asJSON {
				return printJSON(p.Stdout, done)
			}
			p.out("operation %s: %s cancelled, %d too late (sent or ended before)", done.OperationID, count(done.Cancelled, "desktop"), done.TooLate)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
