package cli

import (
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) historyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history DESKTOP",
		Short: "List every operation that named a desktop, the latest first",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if problem := tasks.CheckDesktopID(args[0]); problem != "" {
				return usage("give one desktop id", "desktop id %s %s", shown(args[0]), problem)
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			v, err := c.History(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			if len(v.Events) == 0 {
				p.say("no operation in the record named desktop %s", printable(args[0]))
				return nil
			}
			return historyTable(v).print(p.Stdout)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func historyTable(v api.History) *table {
	t := &table{header: []string{"RECORDED", "OPERATION", "PROJECT", "STATE", "SINCE", "BY", "TICKET", "REASON", "JOB", "REQUEST", "CODE", "MESSAGE"}}
	for _, e := range v.Events {
		code, message := whyOf(e.Desktop)
		op := e.Operation
		t.add(clock(op.AcceptedAt), op.ID, op.Project, e.Desktop.State.String(), clock(e.Desktop.UpdatedAt),
			op.RequestedBy, op.Ticket, op.Reason, e.Desktop.JobID, e.Desktop.RequestID, code, message)
	}
	return t
}
