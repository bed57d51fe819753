package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke the keys of the HTTP API",
		Long: `A key has one role: viewer (look), producer (hand over operations), operator
(cancel, retry, pause, resume) or admin; each may do all that the ones before it may.
Whoever may write to Redis may make any key.`,
	}
	cmd.AddCommand(p.keysCreateCommand(), p.keysListCommand(), p.keysRevokeCommand())
	return cmd
}

func (p *Program) keysCreateCommand() *cobra.Command {
	var want api.KeyRequest
	var expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "create --name NAME --role ROLE",
		Short:   "Make a key; it is shown once",
		Example: "  detachd keys create --name hr --role producer --project hq --expires 2160h",
		Args:    cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			var err error
			if want.ExpiresAt, err = parseWhen(expires, p.Now()); err != nil {
				return usage("mend --expires", "--expires %w", err)
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
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
			p.say("key %s for %s, role %s: keep it now, it cannot be shown again", key.ID, key.Name, key.Role)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&want.Name, "name", "", "whose it is; operations handed over with it are requested by that `name`")
	f.StringVar(&want.Role, "role", "", "viewer, producer, operator or admin")
	f.StringSliceVar(&want.Projects, "project", nil, "only for that project `alias`; may be repeated (default: all)")
	f.StringVar(&want.UnknownUsers, "unknown-users", "", "users whom Workspace does not know, where a request does not say: `hold or ignore` (default: as the project says)")
	f.StringVar(&expires, "expires", "", "until that `time`, for example +2160h (default: never)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) keysListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, the latest first, revoked ones too",
		Args:  cobra.NoArgs,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := c.Keys(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, map[string]any{"keys": list})
			}
			if len(list) == 0 {
				p.say("there are no keys")
				return nil
			}
			t := &table{header: []string{"KEY", "NAME", "ROLE", "PROJECTS", "UNKNOWN USERS", "CREATED", "BY", "EXPIRES", "REVOKED", "LAST USED"}}
			for _, k := range list {
				t.add(k.ID+"…", k.Name, k.Role, strings.Join(k.Projects, ", "), k.UnknownUsers, clock(k.CreatedAt), k.CreatedBy,
					clock(k.ExpiresAt), clock(k.RevokedAt), clock(k.LastUsedAt))
			}
			return t.print(p.Stdout)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) keysRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke KEY",
		Short: "End a key for good",
		Long:  "KEY is what the list shows, the beginning of the key.",
		Args:  cobra.ExactArgs(1),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			k, err := c.RevokeKey(cmd.Context(), strings.TrimSuffix(args[0], "…"))
			if err != nil {
				return err
			}
			p.out("key %s of %s is revoked", k.ID, k.Name)
			return nil
		}),
	}
}
