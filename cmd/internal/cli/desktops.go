package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

type desktopsView struct {
	OperationID string        `json:"operation_id"`
	Desktops    []api.Desktop `json:"desktops"`
}

func (p *Program) desktopsCommand() *cobra.Command {
	var o struct {
		states []string
		code   string
		limit  int
		json   bool
	}
	cmd := &cobra.Command{
		Use:   "desktops OPERATION",
		Short: "List the desktops of an operation and what became of each",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			filter := tasks.DesktopFilter{Code: o.code}
			for _, name := range o.states {
				state, err := tasks.ParseState(name)
				if err != nil {
					return usage("mend --state", "--state: %w", err)
				}
				filter.States = append(filter.States, state)
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			v := desktopsView{OperationID: args[0]}
			v.Desktops, err = pages(o.limit, func(size int, token string) ([]api.Desktop, string, error) {
				return c.Desktops(cmd.Context(), args[0], filter, size, token)
			})
			if err != nil {
				return ofOperation(args[0], err)
			}
			if o.json {
				return printJSON(p.Stdout, v)
			}
			if len(v.Desktops) == 0 {
				p.say("no desktop of the operation matches")
				return nil
			}
			return v.table().print(p.Stdout)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.states, "state", nil, "only in these `states`: queued, sending, accepted, detached, failed, held, cancelled, expanded, no_desktop")
	f.StringVar(&o.code, "code", "", "only with that error code, for example WKS.00010032")
	f.IntVar(&o.limit, "limit", 0, "at most so many (default: all)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (v desktopsView) table() *table {
	t := &table{header: []string{"DESKTOP", "EXPECTED USER", "USERS BEFORE", "STATE", "SINCE", "ATTEMPTS", "JOB", "REQUEST", "CODE", "MESSAGE"}}
	for _, d := range v.Desktops {
		code, message := whyOf(d)
		before := ""
		if d.Before != nil {
			before = namesOf(d.Before.Users)
		}
		t.add(d.ID, strings.Join(d.Expect, ", "), before, d.State.String(), clock(d.UpdatedAt), strconv.Itoa(d.Attempts), d.JobID, d.RequestID, code, message)
	}
	return t
}

// whyOf says how a desktop came to its state, as far as that was written down.
func whyOf(d api.Desktop) (code, message string) {
	if d.Failure != nil {
		return d.Failure.Code, d.Failure.Message
	}
	return "", d.Note.Text()
}
