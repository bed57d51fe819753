package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) protectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "protect",
		Short: "Protect desktops and users from being detached",
		Example: `  detachd protect add board-ann --user ann.lee --reason "a member of the board"
  detachd protect add kiosks --computer "KIOSK-*" --project hq
  detachd protect list`,
		Long: `No call names what is protected. A request that names a protected desktop, user or
computer is refused; a desktop that turns out to have a protected user, computer
name, tag or pool is put on hold before its call. Protections in the configuration
(protected:) count too, and can be changed only there.`,
	}
	return addSubcommands(cmd, p.protectAddCommand(), p.protectListCommand(), p.protectRemoveCommand())
}

func (p *Program) protectAddCommand() *cobra.Command {
	var in api.ProtectionRequest
	var asJSON bool
	patterns := map[tasks.ProtectionKind]*string{}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a protection",
		Example: `  detachd protect add jump-hosts --tag role=jump
  detachd protect add lab --pool e7d3c1f0-5b0a-4d5e-9b1c-2f6f0a7c8d90`,
		Long: `NAME is in refusals: 1 to 40 lower-case letters, digits, dots, dashes or
underscores. Exactly one of --desktop, --user, --computer, --tag and --pool says
what is protected. Upper and lower case do not matter.`,
		Args: needs("NAME", "detachd protect list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			in.Name = args[0]
			if in.Project != "" {
				if err := c.configured(cmd.Context(), in.Project); err != nil {
					return err
				}
			}
			given := 0
			for _, kind := range tasks.ProtectionKinds {
				if cmd.Flags().Changed(string(kind)) {
					in.Kind, in.Pattern = string(kind), *patterns[kind]
					given++
				}
			}
			if given != 1 {
				return usage("give exactly one; one protection is about one thing",
					"%d of --desktop, --user, --computer, --tag and --pool are given", given)
			}
			added, err := c.AddProtection(cmd.Context(), in)
			if p, ok := errors.AsType[*api.Problem](err); ok {
				for i := range p.Errors {
					if p.Errors[i].Pointer == "/pattern" { // no flag has this name
						p.Errors[i].Pointer = "/" + in.Kind
					}
				}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, added)
			}
			p.out("protection %s added: %s %s", added.Name, added.Kind, printable(added.Pattern))
			p.note("processes know it within a second; a call that was being prepared may still leave within the next five")
			return nil
		}),
	}
	f := cmd.Flags()
	for kind, help := range map[tasks.ProtectionKind]string{
		tasks.ProtectDesktop: "`id` of a desktop", tasks.ProtectUser: "`name` of a user or a group, on whatever desktop",
		tasks.ProtectComputer: "`pattern` of computer names: * any characters, ? one, [a-z] one of these",
		tasks.ProtectTag:      "`tag` of desktops: key=value, or key for any value", tasks.ProtectPool: "`id` of a desktop pool",
	} {
		patterns[kind] = f.String(string(kind), "", help)
	}
	f.StringVar(&in.Project, "project", "", "only in this project `alias` (default: in all)")
	f.StringVar(&in.Reason, "reason", "", "`reason`, kept with the protection and in the audit log")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) protectListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the protections, those of the configuration first",
		Example: "  detachd protect list --json",
		Args:    noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := c.Protections(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, api.Page[tasks.Protection]{Items: list})
			}
			if len(list) == 0 {
				p.say("nothing is protected")
				return nil
			}
			t := &table{header: []string{"NAME", "KIND", "PROTECTS", "PROJECT", "ADDED", "BY", "REASON"}}
			for _, x := range list {
				by := x.By
				if x.Configured {
					by = "configuration"
				}
				t.add(x.Name, string(x.Kind), x.Pattern, x.Project, clock(x.At), by, x.Reason)
			}
			return p.show(t)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) protectRemoveCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "remove PROTECTION",
		Short:   "Remove a protection",
		Example: `  detachd protect remove board-ann --reason "left the board"`,
		Args:    needs("PROTECTION", "detachd protect list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			removed, err := c.RemoveProtection(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			p.out("protection %s removed", printable(removed.Name))
			p.note("what it kept on hold stays on hold until it is retried: detachd failures --code PROTECTED")
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`reason`, kept in the audit log; required")
	return cmd
}

func (p *Program) guardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "guard",
		Short:   "Guards outside of detachd",
		Example: "  detachd guard iam-policy > deny.json",
	}
	return addSubcommands(cmd, p.guardPolicyCommand())
}

func (p *Program) guardPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "iam-policy",
		Short:   "Print an IAM policy that denies detaching what is protected",
		Example: "  detachd guard iam-policy > deny.json",
		Long: `Prints an identity policy (IAM 5.0) for the IAM user of detachd, so that the cloud
itself refuses to detach what is protected, whoever uses the credentials. IAM knows
ids and tags of desktops only: what else is protected is listed on stderr, and only
detachd keeps it. Print and attach it again when the protections change.`,
		Args: noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := c.Protections(cmd.Context())
			if err != nil {
				return err
			}
			policy, left := denyPolicy(list)
			for _, x := range left {
				p.say("not in the policy: %s (%s %s): IAM knows only ids and tags of desktops", printable(x.Name), x.Kind, printable(x.Pattern))
			}
			if len(policy.Statement) == 0 {
				return usage("protect desktops by their ids or tags", "nothing that is protected can be written as a policy of IAM; none was printed")
			}
			for _, x := range list {
				if x.Project != "" {
					p.say("note: IAM does not know projects of Workspace's desktops: the policy denies %s in all projects", x.Name)
				}
			}
			return printJSON(p.Stdout, policy)
		}),
	}
}

// iamPolicy is an identity policy of IAM 5.0. Source: "JSON Element Reference" of its user guide.
type iamPolicy struct {
	Version   string
	Statement []iamStatement
}

type iamStatement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string                       `json:",omitempty"`
	Condition map[string]map[string][]string `json:",omitempty"`
}

// denyPolicy is the policy of protections, and those that it cannot express.
func denyPolicy(list []tasks.Protection) (policy iamPolicy, left []tasks.Protection) {
	policy.Version = "5.0"
	for i, x := range list {
		s := iamStatement{
			Sid: fmt.Sprintf("detachd-%d-%s", i+1, x.Name), Effect: "Deny",
			Action:   []string{"workspace:desktops:detach", "workspace:desktops:batchDetach"},
			Resource: []string{"workspace:*:*:desktop:*"},
		}
		switch x.Kind {
		case tasks.ProtectDesktop:
			s.Resource = []string{"workspace:*:*:desktop:" + tasks.CanonicalDesktopID(x.Pattern)}
		case tasks.ProtectTag:
			key, value, exact := strings.Cut(x.Pattern, "=")
			s.Condition = map[string]map[string][]string{"StringMatch": {"g:ResourceTag/" + key: {"*"}}}
			if exact {
				s.Condition = map[string]map[string][]string{"StringEquals": {"g:ResourceTag/" + key: {value}}}
			}
		default:
			left = append(left, x)
			continue
		}
		policy.Statement = append(policy.Statement, s)
	}
	return policy, left
}
