package cli

import (
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
)

type retryView struct {
	OperationID string `json:"operation_id"`
	Retried     int    `json:"retried"`
}

func (p *Program) retryCommand() *cobra.Command {
	var filter tasks.RetryFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "retry OPERATION",
		Short: "Try the failed desktops of an operation again, or those held",
		Long: `Queues the failed desktops of an operation again, or with --held those that are
held. Their attempts start from 0, each is read before anything is sent, and the
operation gets a new deadline, 24 hours from now. What was held is held again if
nothing has changed.`,
		Args: cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			s, err := p.open()
			if err != nil {
				return err
			}
			defer s.Close()
			op, err := s.Record.Operation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			n, err := s.Producer.Retry(cmd.Context(), op, filter, p.requestedBy(""))
			if err != nil {
				p.say("%s of operation %s queued again before the error", count(n, "desktop"), op.ID)
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, retryView{op.ID, n})
			}
			p.out("%s of operation %s queued again", count(n, "desktop"), op.ID)
			switch {
			case n == 0 && filter.Code != "":
				p.say("none has the code %s; detachd failures --operation %s shows the codes", printable(filter.Code), op.ID)
			case n == 0 && !filter.Held && op.Counts.Held > 0:
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

type cancelView struct {
	OperationID string `json:"operation_id"`
	Cancelled   int    `json:"cancelled"`
	TooLate     int    `json:"too_late"`
}

func (p *Program) cancelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cancel OPERATION",
		Short: "Take back what an operation has not sent yet",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			s, err := p.open()
			if err != nil {
				return err
			}
			defer s.Close()
			op, err := s.Record.Operation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			cancelled, late, err := s.Record.Cancel(cmd.Context(), op, p.Now(), p.requestedBy(""))
			if err != nil {
				p.say("%s of operation %s cancelled before the error", count(cancelled, "desktop"), op.ID)
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, cancelView{op.ID, cancelled, late})
			}
			p.out("operation %s: %s cancelled, %d too late (sent or ended before)", op.ID, count(cancelled, "desktop"), late)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
