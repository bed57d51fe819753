package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// view adds their states to operations, for JSON.
func (p *Program) view(ops api.Page[tasks.Operation]) api.Page[api.OperationState] {
	v := api.Page[api.OperationState]{Items: []api.OperationState{}, NextPageToken: ops.NextPageToken}
	for _, op := range ops.Items {
		v.Items = append(v.Items, api.StateOf(op, p.Now()))
	}
	return v
}

// stateText is the state of an operation, with the start of a scheduled one.
func stateText(op tasks.Operation, now time.Time) string {
	if s := op.State(now); s != tasks.OperationScheduled {
		return string(s)
	}
	return "scheduled " + clock(op.NotBefore)
}

func (p *Program) operationsTable(ops []tasks.Operation) *table {
	t := &table{header: []string{
		"OPERATION", "PROJECT", "ACCEPTED", "STATE", "DESKTOPS", "QUEUED", "SENDING", "ACCEPTED BY CLOUD", "DETACHED", "NO DESKTOP",
		"FAILED", "ON HOLD", "CANCELLED", "REQUESTED BY", "TICKET",
	}, less: []string{"QUEUED", "SENDING", "ACCEPTED BY CLOUD", "NO DESKTOP", "CANCELLED", "REQUESTED BY", "ACCEPTED", "TICKET", "DETACHED"}}
	for _, op := range ops {
		c := op.Counts
		row := []string{op.ID, op.Project, clock(op.AcceptedAt), stateText(op, p.Now())}
		for _, n := range []int{op.Total, c.Queued, c.Sending, c.Accepted, c.Detached, c.NoDesktop, c.Failed, c.Held, c.Cancelled} {
			row = append(row, strconv.Itoa(n))
		}
		t.add(append(row, op.RequestedBy, op.Ticket)...)
	}
	return t
}

func (p *Program) listCommand() *cobra.Command {
	var o struct {
		filter       tasks.OperationFilter
		since, until string
		page         pageFlags
		json         bool
	}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List operations, the latest first",
		Example: `  detachd list --open
  detachd list --ticket HR-4711
  detachd list --scheduled --project hq
  detachd list --waiting
  detachd list --since 24h --json`,
		Args: noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			var err error
			if o.filter.From, o.filter.To, err = p.period(o.since, o.until); err != nil {
				return err
			}
			read := func(size int, token string) ([]tasks.Operation, string, error) {
				return c.Operations(cmd.Context(), o.filter, size, token)
			}
			ops, err := pages(o.page.of(o.json), read)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(p.Stdout, p.view(ops))
			}
			if len(ops.Items) == 0 {
				return p.nothing(cmd.Context(), c, "operation", o.filter.Project)
			}
			t := p.operationsTable(ops.Items)
			if o.filter.Waiting {
				t = p.waitingTable(ops.Items)
			}
			if err := p.show(t); err != nil {
				return err
			}
			sayMore(p, ops, read)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.filter.Project, "project", "", "only of this project `alias`")
	f.StringVar(&o.filter.RequestedBy, "requested-by", "", "only operations requested by this `name`")
	f.StringVar(&o.filter.Ticket, "ticket", "", "only of this `ticket`")
	f.BoolVar(&o.filter.Open, "open", false, "only operations in progress")
	f.BoolVar(&o.filter.Scheduled, "scheduled", false, "only operations that start later, the next first")
	f.BoolVar(&o.filter.Waiting, "waiting", false, "only operations that wait for an approval")
	cmd.MarkFlagsMutuallyExclusive("open", "scheduled", "waiting")
	f.StringVar(&o.since, "since", "", "only accepted at or after this `time`, for example 24h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "only accepted before this `time`")
	o.page.flags(f)
	p.outputFlag(f)
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// pageFlags say which part of a list to print.
type pageFlags struct {
	limit int // 0: all
	token string
	given *pflag.Flag // --limit
}

func (o *pageFlags) flags(f *pflag.FlagSet) {
	f.IntVar(&o.limit, "limit", 50, "maximum `number` of rows, 0 for all; JSON and CSV have all unless it is given")
	f.StringVar(&o.token, "page-token", "", "continue after an earlier result: the `token` is its next_page_token in JSON")
	o.given = f.Lookup("limit")
}

// of is for a list that programs read: without --limit it has all, since a program would not
// miss the rest.
func (o pageFlags) of(programs bool) pageFlags {
	if programs && !o.given.Changed {
		o.limit = 0
	}
	return o
}

// sayMore says how many rows a table lacks.
func sayMore[T any](p *Program, shown api.Page[T], read func(size int, token string) ([]T, string, error)) {
	if shown.NextPageToken == "" {
		return
	}
	rest, next, err := read(mostPerPage, shown.NextPageToken)
	more := strconv.Itoa(len(rest)) + " more"
	switch {
	case err != nil:
		more = "and there are more"
	case next != "":
		more = "more than " + more
	case len(rest) == 0:
		return
	}
	p.say("%d shown, %s: --limit 0 shows all", len(shown.Items), more)
}

// listing makes a command that lists what a server has page by page.
func listing[T any](
	p *Program, cmd *cobra.Command, none string, table func(...T) *table,
	read func(ctx context.Context, c *client, size int, token string) ([]T, string, error),
) *cobra.Command {
	var page pageFlags
	var asJSON bool
	cmd.Args = noArguments
	cmd.RunE = p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
		read := func(size int, token string) ([]T, string, error) { return read(cmd.Context(), c, size, token) }
		v, err := pages(page.of(asJSON), read)
		switch {
		case err != nil:
			return err
		case asJSON:
			return printJSON(p.Stdout, v)
		case len(v.Items) == 0:
			p.note("%s", none)
			return nil
		}
		if err := p.show(table(v.Items...)); err != nil {
			return err
		}
		sayMore(p, v, read)
		return nil
	})
	page.flags(cmd.Flags())
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

const mostPerPage = 1000

// pages reads page after page, up to the limit. Its items are never nil, so that JSON
// has a list.
func pages[T any](o pageFlags, read func(size int, token string) ([]T, string, error)) (out api.Page[T], err error) {
	if o.limit < 0 {
		return out, usage("use 1 or more, or 0 for all", "--limit is negative")
	}
	out = api.Page[T]{Items: []T{}, NextPageToken: o.token}
	for {
		size := mostPerPage
		if o.limit > 0 {
			size = min(mostPerPage, o.limit-len(out.Items))
		}
		page, next, err := read(size, out.NextPageToken)
		if err != nil {
			return out, err
		}
		out.Items, out.NextPageToken = append(out.Items, page...), next
		if next == "" || o.limit > 0 && len(out.Items) == o.limit { // a page may be empty and not the last
			return out, nil
		}
	}
}

// all reads all pages.
func all[T any](read func(size int, token string) ([]T, string, error)) ([]T, error) {
	page, err := pages(pageFlags{}, read)
	return page.Items, err
}

// statusView is the JSON of status.
type statusView struct {
	api.Operation
	Failures []tasks.FailureCount `json:"failures_by_code"` // desktops on hold included
	Calls    []tasks.Call         `json:"calls"`
}

func (p *Program) statusCommand() *cobra.Command {
	var asJSON bool
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "status OPERATION",
		Short: "Show the state and the results of an operation",
		Example: `  detachd status d6i2kg1ksdu9f6fldk0g
  detachd status d6i2kg1ksdu9f6fldk0g --wait --timeout 10m`,
		Args: needs("OPERATION", "detachd list"),
		RunE: p.ask(func(cmd *cobra.Command, c *client, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			return p.status(cmd.Context(), c, args[0], wait, asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	wait.flags(cmd.Flags())
	return cmd
}

func (p *Program) status(ctx context.Context, c *client, id string, wait waitOptions, asJSON bool) error {
	op, err := c.poll(ctx, id)
	if err != nil {
		return ofOperation(id, err)
	}
	ops := []tasks.Operation{op}
	if wait.on {
		if ops, err = p.wait(ctx, c.poll, ops, wait.timeout); err != nil {
			return err
		}
	}
	// When waiting ends early, the results so far are still shown.
	v, err := statusOf(context.WithoutCancel(ctx), c, id)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(p.Stdout, v)
	} else {
		err = p.showStatus(v)
	}
	if err != nil || !wait.on {
		return err
	}
	return outcome(ctx, ops)
}

func statusOf(ctx context.Context, c *client, id string) (statusView, error) {
	v := statusView{Failures: []tasks.FailureCount{}}
	var err error
	if v.Operation, err = c.Operation(ctx, id); err != nil {
		return v, err
	}
	if v.Calls, err = c.Calls(ctx, id); err != nil {
		return v, err
	}
	if v.Counts.Failed+v.Counts.Held == 0 {
		return v, nil
	}
	failed, err := all(func(size int, token string) ([]api.Desktop, string, error) {
		return c.Desktops(ctx, id, tasks.DesktopFilter{States: []tasks.State{tasks.StateFailed, tasks.StateHeld}}, size, token)
	})
	if err != nil {
		return v, err
	}
	for _, d := range failed {
		if d.Failure != nil {
			v.Failures = countFailure(v.Failures, *d.Failure)
		}
	}
	return v, nil
}

// countFailure adds a failure to the counts by project, class and code.
func countFailure(counts []tasks.FailureCount, f tasks.Failure) []tasks.FailureCount {
	same := func(c tasks.FailureCount) bool {
		return c.Project == f.Project && c.Class == f.Class && c.Code == f.Code
	}
	if i := slices.IndexFunc(counts, same); i >= 0 {
		counts[i].Count++
		return counts
	}
	return append(counts, tasks.FailureCount{Project: f.Project, Class: f.Class, Code: f.Code, Count: 1})
}

func (p *Program) showStatus(v statusView) error {
	field := func(name, value string) {
		if value != "" {
			p.out("%-14s%s", name, printable(value))
		}
	}
	field("operation", v.ID)
	field("project", v.Project)
	field("state", string(v.Operation.Operation.State(p.Now())))
	waitingFields(v.Operation.Operation, p.Now(), field)
	field("accepted", clock(v.AcceptedAt))
	if !v.DueAt.Equal(v.Begins()) {
		field("remove by", clock(v.DueAt))
	}
	field("not before", clock(v.NotBefore))
	field("deadline", clock(v.Deadline))
	field("finished", clock(v.EndedAt))
	field("requested by", requester(v.Operation.Operation))
	field("ticket", v.Ticket)
	field("undo of", v.UndoOf)
	field("undone by", strings.Join(v.Undos, ", "))
	field("reason", v.Reason)
	field("options", strings.Join(v.options(), ", "))
	field("desktops", strconv.Itoa(v.Total-v.Users))
	if v.Users > 0 {
		field("users", strconv.Itoa(v.Users))
	}
	for _, line := range stateLines(v.Counts) {
		name := v.StateText(line.state)
		p.out("  %s%d", p.screen(p.Stdout).paint(stateColours[stateName(line.state)], fmt.Sprintf("%-12s", name)), line.n)
	}
	if v.Estimate != nil {
		field("estimate", v.Estimate.Text())
	}
	field("pace", paceText(v.Pace))
	field("removal", removalText(v.Removal))
	field("calls", strconv.Itoa(len(v.Calls)))
	field("job ids", strings.Join(jobIDs(v.Calls), ", "))
	field("audit seal", v.Seal)
	if len(v.Failures) == 0 {
		return nil
	}
	p.out("")
	t := &table{header: []string{"FAILED OR ON HOLD WITH", "CLASS", "DESKTOPS"}}
	for _, f := range v.Failures {
		t.add(f.Code, string(f.Class), strconv.Itoa(f.Count))
	}
	return p.show(t)
}

// paceText gives the rate at which rows finish, and the estimated end; empty where
// neither is known.
func paceText(p tasks.Pace) string {
	if p.PerMinute == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g a minute, the last around %s", p.PerMinute, clock(p.EndsAt))
}

// removalText describes the time to access removal: since due, and since the
// operation was accepted if that differs.
func removalText(r tasks.Removal) string {
	var out []string
	if r.Proven > 0 {
		spread := func(p50, p95, worst time.Duration) string {
			return fmt.Sprintf("median %s, P95 %s, slowest %s", seconds(p50), seconds(p95), seconds(worst))
		}
		due, accepted := spread(r.P50, r.P95, r.Worst), spread(r.SinceAccepted.P50, r.SinceAccepted.P95, r.SinceAccepted.Worst)
		if due != accepted {
			due = "since due " + due + "; since accepted " + accepted
		}
		out = append(out, due)
	}
	if r.Late > 0 {
		out = append(out, fmt.Sprintf("%d later than the target of %s", r.Late, r.Target))
	}
	if r.Overdue > 0 {
		out = append(out, fmt.Sprintf("%d not confirmed and overdue (target %s)", r.Overdue, r.Target))
	}
	return strings.Join(out, "; ")
}

func (v statusView) options() (out []string) {
	if v.AllowShared {
		out = append(out, "shared desktops allowed")
	}
	if v.ShutoffAfterDetach {
		out = append(out, "shut down after detaching")
	}
	if v.Urgent {
		out = append(out, "urgent")
	}
	return out
}

// stateLine is the number of desktops in a state.
type stateLine struct {
	state tasks.State
	n     int
}

// stateLines counts desktops by state, in the order of a desktop's life.
func stateLines(c tasks.Counts) (out []stateLine) {
	for _, s := range tasks.States {
		if n := c.Of(s); n > 0 {
			out = append(out, stateLine{s, n})
		}
	}
	return out
}

// jobIDs lists the distinct job ids of calls.
func jobIDs(calls []tasks.Call) []string {
	out := []string{}
	for _, c := range calls {
		for _, id := range append([]string{c.JobID}, c.SuccessJobIDs...) {
			if id != "" && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}
