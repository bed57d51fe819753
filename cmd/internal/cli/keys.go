package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks/api"
)

// reasonHelp describes --reason.
const reasonHelp = "`reason`, kept in the audit log"

func (p *Program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Create, list and revoke API keys",
		Example: `  detachd keys create --name hr --role producer
  detachd keys list`,
		Long: `A key has one role: viewer (read), producer (submit operations), operator (cancel,
retry, pause, resume), approver (approve operations that wait) or admin. Each role
includes those before it. Anyone with write access to Redis can create any key.`,
	}
	return addSubcommands(cmd, p.keysCreateCommand(), p.keysListCommand(), p.keysRevokeCommand())
}

func (p *Program) keysCreateCommand() *cobra.Command {
	var want api.KeyRequest
	var expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "create --name NAME --role ROLE",
		Short:   "Create a key; it is shown once",
		Example: "  detachd keys create --name hr --role producer --project hq --expires 2160h",
		Args:    noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			for flag, n := range map[string]int{"desktops-per-hour": want.DesktopsPerHour, "desktops-per-day": want.DesktopsPerDay} {
				if n == 0 && cmd.Flags().Changed(flag) {
					return usage("give 1 or more, or omit it for no limit", "--%s is 0", flag)
				}
			}
			var err error
			if want.ExpiresAt, err = p.parseTime("--expires", expires, when.Next); err != nil {
				return err
			}
			if err := c.configured(cmd.Context(), want.Projects...); err != nil {
				return err
			}
			key, err := c.CreateKey(cmd.Context(), want)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, key)
			}
			p.out("%s", key.Secret)
			p.say("key %s for %s, role %s, owner %s: save it now, it cannot be shown again", key.ID, key.Name, key.Role, printable(key.Owner))
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&want.Name, "name", "", "`name` of the key, recorded as the requester of operations")
	f.StringVar(&want.Owner, "owner", "", "`person` who answers for the key, by name or mail address (default: the owner of your key, or you)")
	f.StringVar(&want.Role, "role", "", "`role`: viewer, producer, operator, approver or admin")
	f.StringSliceVar(&want.Projects, "project", nil, "only for this project `alias`; may be repeated (default: all)")
	f.StringVar(&want.UnknownUsers, "unknown-users", "",
		"default for users unknown to Workspace: `hold or ignore` (default: as the project is configured)")
	f.IntVar(&want.DesktopsPerHour, "desktops-per-hour", 0,
		"`number` of desktops, users and computers that operations may ask for in an hour (default: no limit)")
	f.IntVar(&want.DesktopsPerDay, "desktops-per-day", 0, "the same `number` for a day (default: no limit)")
	f.StringVar(&expires, "expires", "", "expiry `time`, for example +2160h (default: never)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) keysListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List all keys, the latest first, including revoked ones",
		Example: "  detachd keys list --json",
		Args:    noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := c.Keys(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, api.Page[api.Key]{Items: list})
			}
			if len(list) == 0 {
				p.say("there are no keys")
				return nil
			}
			t := &table{header: []string{"KEY", "NAME", "OWNER", "ROLE", "PROJECTS", "UNKNOWN USERS", "PER HOUR", "PER DAY",
				"CREATED", "CREATED BY", "EXPIRES", "REVOKED",
				"LAST USED"}}
			for _, k := range list {
				t.add(k.ID+"…", k.Name, k.Owner, k.Role, strings.Join(k.Projects, ", "), k.UnknownUsers, quota(k.DesktopsPerHour),
					quota(k.DesktopsPerDay), clock(k.CreatedAt), k.CreatedBy,
					clock(k.ExpiresAt), clock(k.RevokedAt), clock(k.LastUsedAt))
			}
			return p.show(t)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// quota is a limit of a key; none is empty.
func quota(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (p *Program) keysRevokeCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "revoke KEY",
		Short:   "Revoke a key permanently",
		Example: `  detachd keys revoke dk_ea2v3x --reason "left the team"`,
		Long:    "KEY is the beginning of the key, as detachd keys list shows it.",
		Args:    needs("KEY", "detachd keys list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			k, err := c.RevokeKey(cmd.Context(), strings.TrimSuffix(args[0], "…"), reason)
			if err != nil {
				return err
			}
			p.out("key %s of %s revoked", k.ID, k.Name)
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", reasonHelp)
	return cmd
}
