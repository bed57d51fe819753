package cli

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) redriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Retry failed desktops of many operations (bulk retry)",
		Long: `A redrive is a bulk retry. It keeps the failed desktops that match when it starts,
retries them at a rate that you choose, shows its progress, and can be aborted.
Desktops that were retried meanwhile, or failed anew, are skipped. Desktops on
hold are included only with --class held.`,
		Example: `  detachd redrive start --code WKS.00010032 --since 24h --dry-run
  detachd redrive list`,
	}
	return addSubcommands(cmd, p.redriveStartCommand(), p.redriveListCommand(), p.redriveShowCommand(), p.redriveAbortCommand())
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
		Short: "Start a redrive of the failures that match",
		Long: `Counts the failures that match, as detachd failures lists them, and starts to retry
them. Workers continue in the background. With --dry-run it only counts.`,
		Example: `  detachd redrive start --code WKS.00010032 --since 24h --dry-run
  detachd redrive start --code WKS.00010032 --since 24h --per-second 20 --reason "fixed in the cloud"`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error { return p.redrive(cmd.Context(), o) }),
	}
	f := cmd.Flags()
	o.flags(f)
	f.BoolVar(&o.all, "all", false, "all failures; required if there is no filter")
	f.IntVar(&o.perSecond, "per-second", 0, "`rate`: desktops to retry per second (default: unlimited)")
	f.StringVar(&o.reason, "reason", "", "`reason`, for the record")
	f.StringVar(&o.key, "idempotency-key", "", "`key` that makes repeating the same request safe")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what matches, and retry nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) redrive(ctx context.Context, o redriveOptions) error {
	if err := o.read(p); err != nil {
		return err
	}
	if named := o.filter != (tasks.FailureFilter{}); named == o.all {
		return usage("give a filter, for example --code WKS.00010032 --since 24h, or --all alone for all failures",
			"a redrive needs either a filter or --all")
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
		if match.Matched == 0 {
			return p.nothing(ctx, c, "failure", o.filter.Project)
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
	p.note("follow it with: detachd redrive show %s", x.ID)
	p.warnWithoutWorkers(ctx, c)
	return nil
}

func (p *Program) showMatch(match api.FailureMatch) error {
	if err := p.show(matchTable(match)); err != nil {
		return err
	}
	p.note("%s would be retried; nothing was changed", count(match.Matched, "desktop"))
	return nil
}

func matchTable(match api.FailureMatch) *table {
	t := &table{header: []string{"PROJECT", "CLASS", "CODE", "DESKTOPS"}}
	for _, c := range match.By {
		t.add(c.Project, string(c.Class), c.Code, strconv.Itoa(c.Count))
	}
	return t
}

func (p *Program) redriveListCommand() *cobra.Command {
	return listing(p, &cobra.Command{
		Use:     "list",
		Short:   "List redrives, the latest first",
		Example: "  detachd redrive list --limit 5",
	}, "there are no redrives", redriveTable,
		func(ctx context.Context, c *client, size int, token string) ([]tasks.Redrive, string, error) {
			return c.Redrives(ctx, size, token)
		})
}

func (p *Program) redriveShowCommand() *cobra.Command {
	var desktops, asJSON bool
	var page pageFlags
	cmd := &cobra.Command{
		Use:   "show REDRIVE",
		Short: "Show the progress and the results of a redrive",
		Example: `  detachd redrive show d6i2kg1ksdu9f6fldk0g
  detachd redrive show d6i2kg1ksdu9f6fldk0g --desktops --limit 0`,
		Args: needs("REDRIVE", "detachd redrive list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.RedriveByID(cmd.Context(), args[0])
			if err != nil {
				return ofRedrive(args[0], err)
			}
			v := struct {
				tasks.RedriveProgress
				Items         []tasks.RedriveItem `json:"items,omitempty"`
				NextPageToken string              `json:"next_page_token,omitempty"`
			}{RedriveProgress: x}
			read := func(size int, token string) ([]tasks.RedriveItem, string, error) {
				return c.RedriveItems(cmd.Context(), args[0], size, token)
			}
			var items api.Page[tasks.RedriveItem]
			if desktops {
				if items, err = pages(page.of(asJSON), read); err != nil {
					return ofRedrive(args[0], err)
				}
				v.Items, v.NextPageToken = items.Items, items.NextPageToken
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			if err := p.show(redriveTable(x.Redrive)); err != nil {
				return err
			}
			p.out("")
			p.out("results: %s", redriveResults(x))
			if !desktops {
				return nil
			}
			p.out("")
			if err := p.show(redriveItems(items.Items)); err != nil {
				return err
			}
			sayMore(p, items, read)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&desktops, "desktops", false, "also list its desktops and their states now")
	page.flags(cmd.Flags())
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) redriveAbortCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "abort REDRIVE",
		Short:   "Stop a redrive",
		Long:    "Retries no more desktops of a redrive. Those retried before continue; detachd cancel cancels what is not sent yet.",
		Example: "  detachd redrive abort d6i2kg1ksdu9f6fldk0g",
		Args:    needs("REDRIVE", "detachd redrive list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.AbortRedrive(cmd.Context(), args[0])
			if err != nil {
				return ofRedrive(args[0], err)
			}
			if asJSON {
				return printJSON(p.Stdout, x)
			}
			if x.State() != tasks.RedriveAborted {
				p.out("redrive %s had already finished: %s retried", x.ID, share(x.Retried, x.Matched, "desktop"))
				return nil
			}
			p.out("redrive %s aborted: %s retried", x.ID, share(x.Retried, x.Matched, "desktop"))
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// redriveResults counts the retried desktops by their states now.
func redriveResults(x tasks.RedriveProgress) string {
	parts := []string{strconv.Itoa(x.Counts.Detached) + " detached"}
	for _, part := range []struct {
		n    int
		what string
	}{
		{x.Counts.NoDesktop, "without a desktop"}, {x.Counts.Expanded, "expanded"}, {x.Counts.Failed, "failed again"}, {x.Counts.Held, "on hold"},
		{x.Counts.Cancelled, "cancelled"}, {x.Open(), "in progress"},
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

// ofRedrive names the redrive in a "not found" error.
func ofRedrive(id string, err error) error {
	var p *api.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		return usage("detachd redrive list shows the redrives", "there is no redrive %s", shown(id))
	}
	return err
}

func redriveTable(all ...tasks.Redrive) *table {
	t := &table{header: []string{"REDRIVE", "STATE", "RETRIED", "SKIPPED", "MATCHED", "REQUESTED BY", "STARTED", "FILTER"},
		less: []string{"REQUESTED BY", "STARTED"}}
	for _, x := range all {
		t.add(x.ID, string(x.State()), strconv.Itoa(x.Retried), strconv.Itoa(x.Skipped), strconv.Itoa(x.Matched),
			x.RequestedBy, clock(x.CreatedAt), filterText(x))
	}
	return t
}

// filterText describes which failures a redrive is for.
func filterText(x tasks.Redrive) string {
	if x.Named > 0 {
		return count(x.Named, "desktop") + " by name"
	}
	var parts []string
	f := x.Filter
	for _, part := range []struct{ name, value string }{
		{"project", f.Project}, {"code", f.Code}, {"class", string(f.Class)}, {"operation", f.Operation}, {"user", f.User}, {"requested by",
			f.Source},
		{"since", clock(f.From)}, {"until", clock(f.To)},
	} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	if len(parts) == 0 {
		return "all failures"
	}
	return strings.Join(parts, ", ")
}

func redriveItems(items []tasks.RedriveItem) *table {
	t := &table{header: []string{"DESKTOP", "OPERATION", "FAILED", "PROCESSED", "STATE NOW", "CODE"}, less: []string{"FAILED", "PROCESSED"}}
	for _, x := range items {
		state, code := "", ""
		if x.Desktop != nil {
			state = stateName(x.Desktop.State)
			if x.Desktop.Failure != nil {
				code = x.Desktop.Failure.Code
			}
		}
		t.add(x.DesktopID, x.OperationID, clock(x.MatchedAt), map[bool]string{true: "yes", false: "no"}[x.Processed], state, code)
	}
	return t
}
