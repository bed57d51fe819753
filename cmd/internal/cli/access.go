package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
)

func (p *Program) accessCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "access USER",
		Short: "Show the desktops that a person has now",
		Long: `Reads from the cloud which desktops list the user, in all projects, within the
limits of readings. Names are compared exactly. If a project cannot be read, or
Workspace counts desktops that it does not list, the exit code is 1, and what was
found is not all.`,
		Example: "  detachd access zoe.leaver\n  detachd access zoe.leaver --json",
		Args:    needs("USER", "the name in Workspace"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if problem := tasks.CheckUserName(args[0]); problem != "" {
				return usage("give the name as Workspace has it", "invalid user name: %s %s", shown(args[0]), problem)
			}
			a, err := c.Access(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(p.Stdout, a); err != nil {
					return err
				}
			} else if err := p.printAccess(a); err != nil {
				return err
			}
			if a.Complete {
				return nil
			}
			var unread []string
			for _, x := range a.Projects {
				if !x.Read {
					unread = append(unread, x.Project)
				}
			}
			return fail(exitInternal, "detachd doctor checks the connection to the cloud and the rights",
				"what %s has could not be read completely: %s", shown(a.User), strings.Join(unread, ", "))
		}),
	}
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) printAccess(a tasks.Access) error {
	known := false
	for _, x := range a.Projects {
		known = known || x.Known
		if x.Error != "" {
			p.say("project %s: %s", printable(x.Project), printable(x.Error))
		}
		if len(x.Similar) > 0 {
			p.say("project %s: similar names: %s", printable(x.Project), printable(strings.Join(x.Similar, ", ")))
		}
	}
	if len(a.Items) > 0 {
		t := &table{header: []string{"COMPUTER", "DESKTOP", "PROJECT", "STATE", "USERS", "LAST OPERATION"},
			less: []string{"LAST OPERATION", "STATE"}}
		for _, d := range a.Items {
			t.add(d.ComputerName, d.DesktopID, d.Project, d.AttachState, namesOf(d.Users), d.LastOperationID)
		}
		return p.show(t)
	}
	switch {
	case !a.Complete:
	case known:
		p.out("%s has no desktop", printable(a.User))
	default:
		p.out("%s has no desktop: Workspace knows no user of this name", printable(a.User))
	}
	return nil
}
