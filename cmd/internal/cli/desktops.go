package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
)

// desktopView is a desktop with what its last call says.
type desktopView struct {
	tasks.Desktop
	// TookMS is from when the operation was due to when the desktop was proven
	// detached; left out while it is not.
	TookMS    *int64 `json:"took_ms,omitempty"`
	JobID     string `json:"job_id,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

type desktopsView struct {
	OperationID string        `json:"operation_id"`
	Desktops    []desktopView `json:"desktops"`
}

func (p *Program) desktopsCommand() *cobra.Command {
	var o struct {
		states []string
		limit  int
		json   bool
	}
	cmd := &cobra.Command{
		Use:   "desktops OPERATION",
		Short: "List the desktops of an operation and what became of each",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			var filter tasks.DesktopFilter
			for _, name := range o.states {
				state, err := tasks.ParseState(name)
				if err != nil {
					return usage("mend --state", "--state: %w", err)
				}
				filter.States = append(filter.States, state)
			}
			s, err := p.open()
			if err != nil {
				return err
			}
			defer s.Close()
			v, err := desktopsOf(cmd.Context(), s, args[0], filter, o.limit)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(p.Stdout, v)
			}
			if len(v.Desktops) == 0 {
				p.say("no desktop of the operation is in that state")
				return nil
			}
			return v.table().print(p.Stdout)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.states, "state", nil, "only in these `states`: queued, sending, accepted, detached, failed, held, cancelled, resolved")
	f.IntVar(&o.limit, "limit", 0, "at most so many (default: all)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func desktopsOf(ctx context.Context, s *app.Store, id string, filter tasks.DesktopFilter, limit int) (desktopsView, error) {
	v := desktopsView{OperationID: id, Desktops: []desktopView{}}
	op, err := s.Record.Operation(ctx, id)
	if err != nil {
		return v, err
	}
	desktops, err := pages(limit, func(size int, token string) ([]tasks.Desktop, string, error) {
		return s.Record.Desktops(ctx, op, filter, size, token)
	})
	if err != nil {
		return v, err
	}
	calls, err := s.Record.Calls(ctx, id)
	if err != nil {
		return v, err
	}
	byID := make(map[string]tasks.Call, len(calls))
	for _, c := range calls {
		byID[c.ID] = c
	}
	for _, d := range desktops {
		v.Desktops = append(v.Desktops, viewDesktop(op, d, byID[d.CallID]))
	}
	return v, nil
}

func viewDesktop(op tasks.Operation, d tasks.Desktop, call tasks.Call) desktopView {
	v := desktopView{Desktop: d, JobID: call.JobID, RequestID: call.RequestID}
	if took, proven := d.TookFrom(op); proven {
		ms := took.Milliseconds()
		v.TookMS = &ms
	}
	return v
}

func (v desktopsView) table() *table {
	t := &table{header: []string{"DESKTOP", "EXPECTED USER", "STATE", "SINCE", "ATTEMPTS", "JOB", "REQUEST", "CODE", "MESSAGE"}}
	for _, d := range v.Desktops {
		code, message := d.why()
		t.add(d.ID, strings.Join(d.Expect, ", "), d.State.String(), clock(d.UpdatedAt), strconv.Itoa(d.Attempts), d.JobID, d.RequestID, code, message)
	}
	return t
}

// why says how a desktop came to its state, as far as that was written down.
func (d desktopView) why() (code, message string) {
	if d.Failure != nil {
		return d.Failure.Code, d.Failure.Message
	}
	return "", d.Note.String()
}
