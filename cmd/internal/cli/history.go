package cli

import (
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) historyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "history DESKTOP",
		Short:   "List every operation that named a desktop, the latest first",
		Example: "  detachd history f5057fee-4c3e-4459-82dd-21250b729601",
		Args:    needs("DESKTOP", "detachd desktops OPERATION"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if problem := tasks.CheckDesktopID(args[0]); problem != "" {
				return usage("give one desktop id", "invalid desktop id: %s %s", shown(args[0]), problem)
			}
			v, err := c.History(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			if len(v.Events) == 0 {
				p.note("no operation named desktop %s", printable(args[0]))
				return nil
			}
			return p.show(historyTable(v))
		}),
	}
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func historyTable(v api.History) *table {
	t := &table{header: []string{
		"ACCEPTED", "OPERATION", "PROJECT", "STATE", "SINCE", "REQUESTED BY", "TICKET", "REASON", "JOB", "REQUEST", "CODE", "MESSAGE",
	}, less: []string{"REQUEST", "JOB", "SINCE", "REQUESTED BY", "REASON", "PROJECT", "TICKET"}}
	for _, e := range v.Events {
		code, message := whyOf(e.Desktop)
		op := e.Operation
		t.add(clock(op.AcceptedAt), op.ID, op.Project, rowState(op, e.Desktop.Desktop), clock(e.Desktop.UpdatedAt),
			op.RequestedBy, op.Ticket, op.Reason, e.Desktop.JobID, e.Desktop.RequestID, code, message)
	}
	return t
}
