package cli

import (
	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List and end sessions of the dashboard",
		Long: `A session begins when a person signs in to the dashboard with a key. It ends after
twelve hours, after an hour without use, when the person signs out, or when its key
is revoked. An admin sees all sessions, any other key its own.`,
		Example: "  detachd sessions list",
	}
	return addSubcommands(cmd, p.sessionsListCommand(), p.sessionsEndCommand())
}

func (p *Program) sessionsListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the sessions, the latest first",
		Example: "  detachd sessions list --json",
		Args:    noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := c.Sessions(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, api.Page[api.Session]{Items: list})
			}
			if len(list) == 0 {
				p.note("nobody is signed in")
				return nil
			}
			t := &table{header: []string{"SESSION", "OWNER", "KEY", "STARTED", "LAST USED", "EXPIRES", "ADDRESS", "BROWSER"},
				less: []string{"EXPIRES", "STARTED", "KEY", "ADDRESS"}}
			for _, x := range list {
				t.add(x.ID, x.Owner, x.KeyName, clock(x.StartedAt), clock(x.LastUsedAt), clock(x.ExpiresAt), x.Address, x.UserAgent)
			}
			return p.show(t)
		}),
	}
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) sessionsEndCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "end SESSION",
		Short:   "End a session; the person has to sign in again",
		Example: `  detachd sessions end d6i2kg1ksdu9f6fldk0g --reason "a lost laptop"`,
		Args:    needs("SESSION", "detachd sessions list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.EndSession(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			p.out("session %s of %s ended", x.ID, x.KeyName)
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonHelp)
	return cmd
}
