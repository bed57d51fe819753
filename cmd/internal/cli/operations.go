package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// operationsView is the JSON of commands that give operations.
type operationsView struct {
	Operations []statedOperation `json:"operations"`
}

// statedOperation is an operation and what it is at.
type statedOperation struct {
	tasks.Operation
	State tasks.OperationState `json:"state"`
}

func (p *Program) view(ops []tasks.Operation) operationsView {
	v := operationsView{Operations: []statedOperation{}}
	for _, op := range ops {
		v.Operations = append(v.Operations, statedOperation{op, op.State(p.Now())})
	}
	return v
}

// stateText says what an operation is at, and of a scheduled one from when on.
func stateText(op tasks.Operation, now time.Time) string {
	if s := op.State(now); s != tasks.OperationScheduled {
		return string(s)
	}
	return "scheduled " + clock(op.NotBefore)
}

func (p *Program) operationsTable(ops []tasks.Operation) *table {
	t := &table{header: []string{"OPERATION", "PROJECT", "RECORDED", "STATE", "DESKTOPS", "QUEUED", "SENDING", "ACCEPTED", "DETACHED", "NO_DESKTOP", "FAILED", "HELD", "CANCELLED", "BY", "TICKET"}}
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
		limit        int
		json         bool
	}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List operations, the latest first",
		Args:  cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.filter.From, o.filter.To, err = p.period(o.since, o.until); err != nil {
				return err
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			ops, err := pages(o.limit, func(size int, token string) ([]tasks.Operation, string, error) {
				return c.Operations(cmd.Context(), o.filter, size, token)
			})
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(p.Stdout, p.view(ops))
			}
			if len(ops) == 0 {
				p.say("no operation matches")
				return nil
			}
			return p.operationsTable(ops).print(p.Stdout)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.filter.Project, "project", "", "only of that project `alias`")
	f.StringVar(&o.filter.RequestedBy, "requested-by", "", "only what they asked for")
	f.StringVar(&o.filter.Ticket, "ticket", "", "only of that ticket")
	f.BoolVar(&o.filter.Open, "open", false, "only those under way")
	f.BoolVar(&o.filter.Scheduled, "scheduled", false, "only those that are to start later, the next first")
	cmd.MarkFlagsMutuallyExclusive("open", "scheduled")
	f.StringVar(&o.since, "since", "", "only recorded at or after that `time`, for example 24h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "only recorded before that `time`")
	f.IntVar(&o.limit, "limit", 0, "at most so many (default: all)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// pages reads page after page, up to limit results (0: all). What it gives is
// never nil, so that JSON has a list.
func pages[T any](limit int, read func(size int, token string) ([]T, string, error)) ([]T, error) {
	if limit < 0 {
		return nil, usage("give 1 or more, or leave it out for all", "--limit is negative")
	}
	const most = 1000
	out, token := []T{}, ""
	for {
		size := most
		if limit > 0 {
			size = min(most, limit-len(out))
		}
		page, next, err := read(size, token)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if next == "" || limit > 0 && len(out) == limit { // a page may be empty and not the last
			return out, nil
		}
		token = next
	}
}

// statusView is the JSON of status.
type statusView struct {
	api.Operation
	Failures []tasks.FailureCount `json:"failures_by_code"` // and of those held
	Calls    []tasks.Call         `json:"calls"`
}

func (p *Program) statusCommand() *cobra.Command {
	var asJSON bool
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "status OPERATION",
		Short: "Show what became of an operation so far",
		Args:  cobra.ExactArgs(1),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			c, err := p.connect("")
			if err != nil {
				return err
			}
			defer c.close()
			return p.status(cmd.Context(), c, args[0], wait, asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	wait.flags(cmd.Flags())
	return cmd
}

func (p *Program) status(ctx context.Context, c *client, id string, wait waitOptions, asJSON bool) error {
	op, err := c.look(ctx, id)
	if err != nil {
		return ofOperation(id, err)
	}
	ops := []tasks.Operation{op}
	if wait.on {
		if ops, err = p.wait(ctx, c.look, ops, wait.timeout); err != nil {
			return err
		}
	}
	// Having stopped to wait is no reason not to show what there is.
	v, err := statusOf(context.WithoutCancel(ctx), c, id)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(p.Stdout, v)
	} else {
		err = v.print(p.Stdout, p.Now())
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
	failed, err := pages(0, func(size int, token string) ([]api.Desktop, string, error) {
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

func (v statusView) print(w io.Writer, now time.Time) error {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-14s%s\n", name, printable(value))
		}
	}
	field("operation", v.ID)
	field("project", v.Project)
	field("state", string(v.Operation.Operation.State(now)))
	field("recorded", clock(v.AcceptedAt))
	if !v.DueAt.Equal(v.Begins()) {
		field("due", clock(v.DueAt))
	}
	field("not before", clock(v.NotBefore))
	field("deadline", clock(v.Deadline))
	field("ended", clock(v.EndedAt))
	field("requested by", v.RequestedBy)
	field("ticket", v.Ticket)
	field("reason", v.Reason)
	field("options", strings.Join(v.options(), ", "))
	field("desktops", strconv.Itoa(v.Total-v.Users))
	if v.Users > 0 {
		field("users", strconv.Itoa(v.Users))
	}
	for _, line := range stateLines(v.Counts) {
		fmt.Fprintf(w, "  %-12s%d\n", line.state, line.n)
	}
	field("pace", paceText(v.Pace))
	field("access gone", removalText(v.Removal))
	field("calls", strconv.Itoa(len(v.Calls)))
	field("job ids", strings.Join(jobIDs(v.Calls), ", "))
	field("trail head", v.Seal)
	if len(v.Failures) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := &table{header: []string{"FAILED OR HELD WITH", "CLASS", "DESKTOPS"}}
	for _, f := range v.Failures {
		t.add(f.Code, f.Class, strconv.Itoa(f.Count))
	}
	return t.print(w)
}

// paceText says how fast rows come to their end, and when the rest will have; empty
// where that is not known.
func paceText(p tasks.Pace) string {
	if p.PerMinute == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g a minute, the last at about %s", p.PerMinute, clock(p.EndsAt))
}

// removalText says how long it took until access was gone: since due, and since
// accepted where that is something else.
func removalText(r tasks.Removal) string {
	var out []string
	if r.Proven > 0 {
		spread := func(p50, p95, worst time.Duration) string {
			return fmt.Sprintf("half within %s, 95 %% within %s, the last after %s", seconds(p50), seconds(p95), seconds(worst))
		}
		due, accepted := spread(r.P50, r.P95, r.Worst), spread(r.SinceAccepted.P50, r.SinceAccepted.P95, r.SinceAccepted.Worst)
		if due != accepted {
			due = "since due " + due + "; since accepted " + accepted
		}
		out = append(out, due)
	}
	if r.Late > 0 {
		out = append(out, fmt.Sprintf("%d later than %s", r.Late, r.Target))
	}
	if r.Overdue > 0 {
		out = append(out, fmt.Sprintf("%d not proven and overdue (%s)", r.Overdue, r.Target))
	}
	return strings.Join(out, "; ")
}

func (v statusView) options() (out []string) {
	if v.AllowShared {
		out = append(out, "shared desktops allowed")
	}
	if v.ShutoffAfterDetach {
		out = append(out, "shut down after detach")
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

// stateLines gives the states that desktops are in, in the order of their life.
func stateLines(c tasks.Counts) (out []stateLine) {
	for _, s := range tasks.States {
		if n := c.Of(s); n > 0 {
			out = append(out, stateLine{s, n})
		}
	}
	return out
}

// jobIDs lists the job ids of calls, each once.
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
