package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
)

// eventView is what one operation did about a desktop.
type eventView struct {
	Operation tasks.Operation `json:"operation"`
	Desktop   desktopView     `json:"desktop"`
}

type historyView struct {
	DesktopID string      `json:"desktop_id"`
	Events    []eventView `json:"events"`
}

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
			s, err := p.open()
			if err != nil {
				return err
			}
			defer s.Close()
			v, err := historyOf(cmd.Context(), s, args[0])
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
			return v.table().print(p.Stdout)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func historyOf(ctx context.Context, s *app.Store, desktop string) (historyView, error) {
	v := historyView{DesktopID: desktop, Events: []eventView{}}
	events, err := s.Record.History(ctx, desktop)
	if err != nil {
		return v, err
	}
	for _, e := range events {
		var calls map[string]tasks.Call
		if e.Desktop.CallID != "" {
			if calls, err = s.Record.CallsNamed(ctx, e.Operation.ID, e.Desktop.CallID); err != nil {
				return v, err
			}
		}
		v.Events = append(v.Events, eventView{e.Operation, viewDesktop(e.Operation, e.Desktop, calls[e.Desktop.CallID])})
	}
	return v, nil
}

func (v historyView) table() *table {
	t := &table{header: []string{"RECORDED", "OPERATION", "PROJECT", "STATE", "SINCE", "BY", "TICKET", "REASON", "JOB", "REQUEST", "CODE", "MESSAGE"}}
	for _, e := range v.Events {
		code, message := e.Desktop.why()
		op := e.Operation
		t.add(clock(op.AcceptedAt), op.ID, op.Project, e.Desktop.State.String(), clock(e.Desktop.UpdatedAt),
			op.RequestedBy, op.Ticket, op.Reason, e.Desktop.JobID, e.Desktop.RequestID, code, message)
	}
	return t
}
