package cli

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) redriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Take up failed desktops of many operations again",
		Long: `A redrive keeps which failed desktops it matched when it began, takes them up
again at a velocity, shows how far it is, and can be aborted. A desktop that was
taken up, or has failed anew, meanwhile is left alone; so is what is held, unless
--class held asks for it.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(p.redriveStartCommand(), p.redriveListCommand(), p.redriveShowCommand(), p.redriveAbortCommand())
	return cmd
}

type redriveOptions struct {
	failureFlags
	perSecond   int
	reason, key string
	all, dryRun bool
	json        bool
}

func (p *Program) redriveStartCommand() *cobra.Command {
	var o redriveOptions
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Begin a redrive of the failures that match",
		Long: `Counts the failures that match, as detachd failures lists them, and begins to take
them up again: workers carry on with it. With --dry-run it only counts.`,
		Example: `  detachd redrive start --code WKS.00010032 --since 24h --dry-run
  detachd redrive start --code WKS.00010032 --since 24h --per-second 20 --reason "fixed in the cloud"`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.redrive(cmd.Context(), o) }),
	}
	f := cmd.Flags()
	o.flags(f)
	f.BoolVar(&o.all, "all", false, "all that failed; needed where nothing else says which")
	f.IntVar(&o.perSecond, "per-second", 0, "take up so many desktops a second (default: as fast as they can be)")
	f.StringVar(&o.reason, "reason", "", "why, for the record")
	f.StringVar(&o.key, "idempotency-key", "", "makes sending the same again harmless")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what matches, and take up nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) redrive(ctx context.Context, o redriveOptions) error {
	if err := o.read(p); err != nil {
		return err
	}
	if named := o.filter != (tasks.FailureFilter{}); named == o.all {
		return usage("say which, for example --code WKS.00010032 --since 24h; or --all, alone, for all that failed", "a redrive takes a filter or --all, and not both")
	}
	c, err := p.connect("")
	if err != nil {
		return err
	}
	defer c.close()
	req := api.RedriveRequest{Filter: o.filter, PerSecond: o.perSecond, Reason: o.reason, IdempotencyKey: o.key}
	if o.dryRun {
		match, err := c.MatchRedrive(ctx, req)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(p.Stdout, match)
		}
		return p.showMatch(match)
	}
	x, err := c.Redrive(ctx, req)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(p.Stdout, x)
	}
	p.out("redrive %s: %s matched", x.ID, count(x.Matched, "desktop"))
	p.say("look at it with: detachd redrive show %s", x.ID)
	p.warnWithoutWorkers(ctx, c)
	return nil
}

func (p *Program) showMatch(match api.FailureMatch) error {
	if match.Matched == 0 {
		p.say("no failure matches")
		return nil
	}
	if err := matchTable(match).print(p.Stdout); err != nil {
		return err
	}
	p.say("%s would be taken up again; nothing was done", count(match.Matched, "desktop"))
	return nil
}

func matchTable(match api.FailureMatch) *table {
	t := &table{header: []string{"PROJECT", "CLASS", "CODE", "DESKTOPS"}}
	for _, c := range match.By {
		t.add(c.Project, c.Class, c.Code, strconv.Itoa(c.Count))
	}
	return t
}

func (p *Program) redriveListCommand() *cobra.Command {
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List redrives, the latest first",
		Args:  cobra.NoArgs,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			all, err := pages(limit, func(size int, token string) ([]tasks.Redrive, string, error) {
				return c.Redrives(cmd.Context(), size, token)
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(p.Stdout, struct {
					Redrives []tasks.Redrive `json:"redrives"`
				}{all})
			case len(all) == 0:
				p.say("there is no redrive")
				return nil
			}
			return redriveTable(all...).print(p.Stdout)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) redriveShowCommand() *cobra.Command {
	var desktops, asJSON bool
	cmd := &cobra.Command{
		Use:   "show REDRIVE",
		Short: "Show how far a redrive is, and what became of its desktops",
		Args:  cobra.ExactArgs(1),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.RedriveByID(cmd.Context(), args[0])
			if err != nil {
				return ofRedrive(args[0], err)
			}
			v := struct {
				tasks.RedriveProgress
				Desktops []tasks.RedriveItem `json:"desktops,omitempty"`
			}{RedriveProgress: x}
			if desktops {
				v.Desktops, err = pages(0, func(size int, token string) ([]tasks.RedriveItem, string, error) {
					return c.RedriveItems(cmd.Context(), args[0], size, token)
				})
				if err != nil {
					return ofRedrive(args[0], err)
				}
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			if err := redriveTable(x.Redrive).print(p.Stdout); err != nil {
				return err
			}
			p.out("")
			p.out("what came of it: %s", cameOf(x))
			if !desktops {
				return nil
			}
			p.out("")
			return redriven(v.Desktops).print(p.Stdout)
		}),
	}
	cmd.Flags().BoolVar(&desktops, "desktops", false, "list its desktops, too, and what each is now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) redriveAbortCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "abort REDRIVE",
		Short: "Take up no more of a redrive's desktops",
		Long:  "Ends a redrive. What it has taken up already goes on; detachd cancel takes that back where it was not sent.",
		Args:  cobra.ExactArgs(1),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.AbortRedrive(cmd.Context(), args[0])
			if err != nil {
				return ofRedrive(args[0], err)
			}
			if asJSON {
				return printJSON(p.Stdout, x)
			}
			if x.State() != tasks.RedriveAborted {
				p.out("redrive %s had ended already: %s of %d taken up", x.ID, count(x.Retried, "desktop"), x.Matched)
				return nil
			}
			p.out("redrive %s aborted: %s of %d taken up", x.ID, count(x.Retried, "desktop"), x.Matched)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// cameOf says what came of what a redrive took up.
func cameOf(x tasks.RedriveProgress) string {
	parts := []string{strconv.Itoa(x.Counts.Detached) + " detached"}
	for _, part := range []struct {
		n    int
		what string
	}{
		{x.Counts.NoDesktop, "without a desktop"}, {x.Counts.Expanded, "expanded"}, {x.Counts.Failed, "failed again"}, {x.Counts.Held, "held"},
		{x.Counts.Cancelled, "cancelled"}, {x.Open(), "still open"},
	} {
		if part.n > 0 {
			parts = append(parts, strconv.Itoa(part.n)+" "+part.what)
		}
	}
	if pace := paceText(x.Pace); pace != "" {
		parts = append(parts, pace)
	}
	return strings.Join(parts, ", ")
}

// ofRedrive says which redrive is not there.
func ofRedrive(id string, err error) error {
	var p *api.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		return usage("detachd redrive list shows them", "there is no redrive %s", shown(id))
	}
	return err
}

func redriveTable(all ...tasks.Redrive) *table {
	t := &table{header: []string{"REDRIVE", "STATE", "TAKEN UP", "LEFT ALONE", "MATCHED", "BY", "SINCE", "OF"}}
	for _, x := range all {
		t.add(x.ID, string(x.State()), strconv.Itoa(x.Retried), strconv.Itoa(x.Skipped), strconv.Itoa(x.Matched), x.RequestedBy, clock(x.CreatedAt), redriveOf(x))
	}
	return t
}

// redriveOf says what was asked for.
func redriveOf(x tasks.Redrive) string {
	if x.Named > 0 {
		return count(x.Named, "desktop") + " by name"
	}
	var parts []string
	f := x.Filter
	for _, part := range [][2]string{
		{"project", f.Project}, {"code", f.Code}, {"class", f.Class}, {"operation", f.Operation}, {"user", f.User}, {"requested by", f.Source},
		{"since", clock(f.From)}, {"until", clock(f.To)},
	} {
		if part[1] != "" {
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	if len(parts) == 0 {
		return "all that failed"
	}
	return strings.Join(parts, ", ")
}

func redriven(items []tasks.RedriveItem) *table {
	t := &table{header: []string{"DESKTOP", "OPERATION", "FAILED", "COME TO", "STATE NOW", "CODE"}}
	for _, x := range items {
		state, code := "", ""
		if x.Desktop != nil {
			state = x.Desktop.State.String()
			if x.Desktop.Failure != nil {
				code = x.Desktop.Failure.Code
			}
		}
		t.add(x.DesktopID, x.OperationID, x.MatchedAt.Local().Format(time.DateTime), map[bool]string{true: "yes", false: "not yet"}[x.Taken], state, code)
	}
	return t
}
