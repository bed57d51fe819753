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

type cancelOptions struct {
	filter       tasks.CancellationFilter
	since, until string
	reason       string
	confirm      int // -1: not given
	dryRun       bool
	json         bool
}

func (p *Program) cancelCommand() *cobra.Command {
	var o cancelOptions
	cmd := &cobra.Command{
		Use:   "cancel [OPERATION]",
		Short: "Cancel the desktops that are not sent yet, or on hold: of an operation, or of many",
		Long: `Cancels what was not sent of one operation, or of all that match a filter: in
progress, scheduled, waiting for approval, on hold. Desktops that were sent already
are too late: they are counted, and listed with detachd cancellation show --desktops.

With a filter, confirm the number of operations by typing it, or with --confirm in
scripts. Without --ticket, say --since when they were accepted. Operations that are
accepted later are not included: if their source goes on, revoke its key or pause the
project first.`,
		Example: `  detachd cancel d6i2kg1ksdu9f6fldk0g
  detachd cancel --requested-by hr --since 2h --dry-run
  detachd cancel --ticket HR-4711 --reason "the list was of another site" --confirm 12`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return needs("OPERATION", "detachd list")(cmd, args)
		},
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return p.cancelMany(cmd.Context(), o)
			}
			return p.cancelOne(cmd.Context(), args[0], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.filter.RequestedBy, "requested-by", "", "all operations requested by this `name`")
	f.StringVar(&o.filter.Ticket, "ticket", "", "all operations of this `ticket`")
	f.StringVar(&o.filter.Project, "project", "", "all operations of this project `alias`")
	f.StringVar(&o.since, "since", "", "of these, those accepted at or after this `time`, for example 2h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "of these, those accepted before this `time`")
	f.StringVar(&o.reason, "reason", "", "`reason`, for the record; required with a filter")
	f.IntVar(&o.confirm, "confirm", -1, "cancel only if exactly this `number` of operations matches")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what matches, and cancel nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (p *Program) cancelOne(ctx context.Context, id string, o cancelOptions) error {
	if o.filter != (tasks.CancellationFilter{}) || o.since != "" || o.until != "" || o.dryRun || o.confirm >= 0 {
		return usage("give an operation, with at most --reason and --json, or a filter",
			"an operation and the flags of a filter do not go together")
	}
	c, err := p.connect("")
	if err != nil {
		return err
	}
	defer c.close()
	done, err := c.Cancel(ctx, id, o.reason)
	if err != nil {
		return ofOperation(id, err)
	}
	if o.json {
		return printJSON(p.Stdout, done)
	}
	p.out("operation %s: %s cancelled, %d too late (already sent or finished)", done.OperationID, count(done.Cancelled, "desktop"),
		done.TooLate)
	return nil
}

func (p *Program) cancelMany(ctx context.Context, o cancelOptions) (err error) {
	if o.filter.From, o.filter.To, err = p.period(o.since, o.until); err != nil {
		return err
	}
	switch f := o.filter; {
	case f.RequestedBy == "" && f.Ticket == "" && f.Project == "":
		return usage("give an operation (see detachd list), or --requested-by, --ticket or --project",
			"OPERATION or a filter is missing; nothing was cancelled")
	case f.Ticket == "" && f.From.IsZero():
		return usage("add --since, for example --since 2h", "without --ticket a filter needs --since; nothing was cancelled")
	case strings.TrimSpace(o.reason) == "" && !o.dryRun:
		return usage("add --reason", "cancelling many operations needs a reason; nothing was cancelled")
	}
	c, err := p.connect("")
	if err != nil {
		return err
	}
	defer c.close()
	req := api.CancellationRequest{Filter: o.filter, Reason: o.reason}
	match, err := c.MatchCancellation(ctx, req)
	switch {
	case err != nil:
		return err
	case o.json && (o.dryRun || match.Matched == 0 && o.confirm < 0):
		return printJSON(p.Stdout, match)
	case match.Matched == 0 && o.confirm < 0:
		return p.nothing(ctx, c, "operation", o.filter.Project)
	case o.dryRun:
		if err := p.show(cancelMatch(match)); err != nil {
			return err
		}
		p.note("%s; nothing was changed", cancelCounts(match.Counts))
		return nil
	}
	p.note("%s", cancelCounts(match.Counts))
	err = p.confirmed(match.Matched, o.confirm, question{
		thing: "operation", asks: cancelMatch(match), look: "detachd cancel --dry-run", do: "cancel", doing: "cancelling", done: "cancelled",
	})
	if err != nil {
		return err
	}
	req.AsOf, req.Matched = match.AsOf, match.Matched
	x, err := c.Cancellation(ctx, req)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(p.Stdout, x)
	}
	p.sayCancellation(x)
	if !x.Done() {
		p.note("workers continue, and desktops in a call are waited for: detachd cancellation show %s", x.ID)
		p.warnWithoutWorkers(ctx, c)
	}
	return nil
}

// cancelCounts says what a cancellation would do with the rows of what it matches.
func cancelCounts(n tasks.Counts) string {
	text := count(n.Queued+n.Held, "desktop") + " would be cancelled, " + strconv.Itoa(n.Accepted+n.Detached) + " are too late"
	if n.Sending > 0 {
		text += ", " + strconv.Itoa(n.Sending) + " are in a call"
	}
	return text
}

func cancelMatch(match tasks.CancellationMatch) *table {
	t := &table{header: []string{"PROJECT", "REQUESTED BY", "OPERATIONS", "DESKTOPS"}}
	for _, c := range match.By {
		t.add(c.Project, c.RequestedBy, strconv.Itoa(c.Operations), strconv.Itoa(c.Desktops))
	}
	return t
}

// sayCancellation says how far a cancellation is, and what it could not cancel.
func (p *Program) sayCancellation(x tasks.Cancellation) {
	p.out("cancellation %s %s: %s processed, %s cancelled, %d too late", x.ID, x.State(),
		share(x.Processed, x.Matched, "operation"), count(x.Cancelled, "desktop"), x.TooLate)
	if x.TooLate > 0 {
		p.note("the desktops that were too late: detachd cancellation show %s --desktops", x.ID)
	}
	if x.AcceptedSince > 0 {
		p.say("%s of the same filter came while it ran, and were not cancelled: stop their source (detachd keys revoke, "+
			"or detachd pause PROJECT), then cancel again", count(x.AcceptedSince, "operation"))
	}
}

func (p *Program) cancellationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cancellation",
		Short:   "Follow and stop the cancellations of many operations",
		Long:    `detachd cancel with a filter starts a cancellation. Workers carry it out.`,
		Example: "  detachd cancellation list",
	}
	return addSubcommands(cmd, p.cancellationListCommand(), p.cancellationShowCommand(), p.cancellationAbortCommand())
}

func (p *Program) cancellationListCommand() *cobra.Command {
	return listing(p, &cobra.Command{
		Use:     "list",
		Short:   "List cancellations, the latest first",
		Example: "  detachd cancellation list --limit 5",
	}, "there are no cancellations", cancellationTable,
		func(ctx context.Context, c *client, size int, token string) ([]tasks.Cancellation, string, error) {
			return c.Cancellations(ctx, size, token)
		})
}

func (p *Program) cancellationShowCommand() *cobra.Command {
	var desktops, asJSON bool
	var page pageFlags
	cmd := &cobra.Command{
		Use:   "show CANCELLATION",
		Short: "Show the progress of a cancellation, and what was too late",
		Example: `  detachd cancellation show d6i2kg1ksdu9f6fldk0g
  detachd cancellation show d6i2kg1ksdu9f6fldk0g --desktops --limit 0`,
		Args: needs("CANCELLATION", "detachd cancellation list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.CancellationByID(cmd.Context(), args[0])
			if err != nil {
				return ofCancellation(args[0], err)
			}
			v := struct {
				tasks.CancellationProgress
				Items         []tasks.Desktop `json:"items,omitempty"`
				NextPageToken string          `json:"next_page_token,omitempty"`
			}{CancellationProgress: x}
			read := func(size int, token string) ([]tasks.Desktop, string, error) {
				return c.TooLate(cmd.Context(), args[0], size, token)
			}
			var items api.Page[tasks.Desktop]
			if desktops {
				if items, err = pages(page.of(asJSON), read); err != nil {
					return ofCancellation(args[0], err)
				}
				v.Items, v.NextPageToken = items.Items, items.NextPageToken
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			if !desktops {
				if err := p.show(cancellationTable(x.Cancellation)); err != nil {
					return err
				}
				p.sayCancellation(x.Cancellation)
				return nil
			}
			t := &table{header: []string{"DESKTOP", "OPERATION", "STATE NOW", "NOTE"}}
			for _, d := range items.Items {
				t.add(d.ID, d.OperationID, stateName(d.State), d.NoteText)
			}
			if err := p.show(t); err != nil {
				return err
			}
			sayMore(p, items, read)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&desktops, "desktops", false, "list the desktops that were too late, and their states now")
	page.flags(cmd.Flags())
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *Program) cancellationAbortCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "abort CANCELLATION",
		Short:   "Stop a cancellation; what it has cancelled stays cancelled",
		Example: "  detachd cancellation abort d6i2kg1ksdu9f6fldk0g",
		Args:    needs("CANCELLATION", "detachd cancellation list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			x, err := c.AbortCancellation(cmd.Context(), args[0])
			if err != nil {
				return ofCancellation(args[0], err)
			}
			if asJSON {
				return printJSON(p.Stdout, x)
			}
			p.sayCancellation(x)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// ofCancellation names the cancellation in a "not found" error.
func ofCancellation(id string, err error) error {
	var p *api.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		return usage("detachd cancellation list shows the cancellations", "there is no cancellation %s", shown(id))
	}
	return err
}

func cancellationTable(all ...tasks.Cancellation) *table {
	t := &table{
		header: []string{"CANCELLATION", "STATE", "OPERATIONS", "CANCELLED", "TOO LATE", "REQUESTED BY", "STARTED", "FILTER", "REASON"},
		less:   []string{"REASON", "REQUESTED BY", "STARTED"},
	}
	for _, x := range all {
		t.add(x.ID, string(x.State()), strconv.Itoa(x.Processed)+" of "+strconv.Itoa(x.Matched), strconv.Itoa(x.Cancelled),
			strconv.Itoa(x.TooLate), x.RequestedBy, clock(x.CreatedAt), cancelText(x.Filter), x.Reason)
	}
	return t
}

// cancelText describes which operations a cancellation is for.
func cancelText(f tasks.CancellationFilter) string {
	var parts []string
	for _, part := range []struct{ name, value string }{
		{"requested by", f.RequestedBy}, {"ticket", f.Ticket}, {"project", f.Project}, {"since", clock(f.From)}, {"until", clock(f.To)},
	} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	return strings.Join(parts, ", ")
}
