package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) desktopsCommand() *cobra.Command {
	var o struct {
		states []string
		code   string
		page   pageFlags
		json   bool
	}
	cmd := &cobra.Command{
		Use:   "desktops OPERATION",
		Short: "List the desktops of an operation and their results",
		Example: `  detachd desktops d6i2kg1ksdu9f6fldk0g --state failed,held
  detachd desktops d6i2kg1ksdu9f6fldk0g --limit 0 -o wide`,
		Args: needs("OPERATION", "detachd list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			filter := tasks.DesktopFilter{Code: o.code}
			for _, name := range o.states {
				state, err := tasks.ParseState(name)
				if err != nil {
					return usage("correct --state and run the command again", "invalid --state: %w", err)
				}
				filter.States = append(filter.States, state)
			}
			read := func(size int, token string) ([]api.Desktop, string, error) {
				return c.Desktops(cmd.Context(), args[0], filter, size, token)
			}
			v, err := pages(o.page.of(o.json), read)
			if err != nil {
				return ofOperation(args[0], err)
			}
			if o.json {
				return printJSON(p.Stdout, v)
			}
			if len(v.Items) == 0 {
				p.note("no desktop of the operation matches")
				return nil
			}
			op, err := c.poll(cmd.Context(), args[0])
			if err != nil {
				return ofOperation(args[0], err)
			}
			if err := p.show(desktopsTable(op, v.Items)); err != nil {
				return err
			}
			sayMore(p, v, read)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.states, "state", nil,
		"only in these `states`: queued, sending, accepted, detached,\nfailed, held (on hold), cancelled, expanded, no_desktop")
	f.StringVar(&o.code, "code", "", "only with this error `code`, for example WKS.00010032")
	o.page.flags(f)
	p.outputFlag(f)
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func desktopsTable(op tasks.Operation, desktops []api.Desktop) *table {
	t := &table{header: []string{"DESKTOP", "EXPECTED USER", "USERS BEFORE", "STATE", "SINCE", "ATTEMPTS", "JOB", "REQUEST", "CODE",
		"MESSAGE"}, less: []string{"REQUEST", "JOB", "ATTEMPTS", "USERS BEFORE", "SINCE"}}
	for _, d := range desktops {
		code, message := whyOf(d)
		before := ""
		if d.Before != nil {
			before = namesOf(d.Before.Users)
		}
		t.add(d.ID, strings.Join(d.Expect, ", "), before, rowState(op, d.Desktop), clock(d.UpdatedAt), strconv.Itoa(d.Attempts),
			d.JobID, d.RequestID, code, message)
	}
	return t
}

// whyOf gives the recorded reason for a desktop's state.
func whyOf(d api.Desktop) (code, message string) {
	if d.Failure != nil {
		return d.Failure.Code, d.Failure.Message
	}
	return "", d.Note.Text()
}
