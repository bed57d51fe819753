package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	firstPoll    = 50 * time.Millisecond
	longestPause = time.Second
	maxOutage    = 30 * time.Second // waiting continues while Redis or the server is unreachable no longer than this
)

// waitOptions are the flags of commands that can wait for operations.
type waitOptions struct {
	on      bool
	timeout time.Duration
}

func (o *waitOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.on, "wait", false, "wait until every desktop is confirmed detached, failed or on hold")
	f.DurationVar(&o.timeout, "timeout", 0, "with --wait: stop waiting after this `duration`, for example 10m (default: never)")
}

func (o *waitOptions) check() error {
	switch {
	case o.timeout < 0:
		return usage("give a duration such as 10m", "--timeout is negative")
	case o.timeout > 0 && !o.on:
		return usage("add --wait or remove --timeout", "--timeout requires --wait")
	}
	return nil
}

// waitAndShow waits for operations and prints their results. The error carries the
// exit code.
func (p *Program) waitAndShow(ctx context.Context, c *client, ops []tasks.Operation, o waitOptions, asJSON bool, list listView) error {
	for _, op := range ops {
		p.note("operation %s: %s of project %s %s; waiting", op.ID, size(op), op.Project, schedule(op, p.Now()))
	}
	ops, err := p.wait(ctx, c.poll, ops, o.timeout)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(p.Stdout, p.detachView(ops, list))
	} else {
		err = p.show(p.operationsTable(ops))
	}
	if err != nil {
		return err
	}
	return outcome(ctx, ops)
}

// reader reads an operation.
type reader func(ctx context.Context, id string) (tasks.Operation, error)

// fromRecord reads from the record itself.
func fromRecord(rec *record.Record) reader {
	return func(ctx context.Context, id string) (tasks.Operation, error) {
		op, err := rec.Operation(ctx, id)
		return op.Operation, err
	}
}

// poll is a reader.
func (c *client) poll(ctx context.Context, id string) (tasks.Operation, error) {
	op, err := c.OperationState(ctx, id)
	return op.Operation, err
}

// wait returns the operations when all are finished, ctx ends, or timeout (0: none)
// is over.
func (p *Program) wait(ctx context.Context, read reader, ops []tasks.Operation, timeout time.Duration) ([]tasks.Operation, error) {
	var over <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		over = t.C
	}
	bar := p.newBar(total(ops))
	defer bar.end()
	asked := map[string]bool{}
	answered := time.Now()
	for pause := firstPoll; ; pause = min(2*pause, longestPause) {
		// A poll is completed even if waiting ends meanwhile.
		now, err := pollAll(context.WithoutCancel(ctx), read, ops)
		switch {
		case err == nil:
			ops, answered = now, time.Now()
			for _, op := range ops {
				if waits := op.AwaitsApproval(); waits && !asked[op.ID] {
					p.say("operation %s waits for an approval, and nothing is sent: %s; detachd approve %s, or detachd reject %s",
						op.ID, printable(op.Clearance.Question()), op.ID, op.ID)
				}
				asked[op.ID] = op.AwaitsApproval()
			}
		case ctx.Err() == nil && mayPass(err) && time.Since(answered) < maxOutage:
			pause = max(pause, min(retryAfter(err), maxOutage))
		default:
			f := explain(err)
			return nil, &failure{f.code, fmt.Errorf("waiting ended, the work continues: %w", f.err), checkLater(ops)}
		}
		bar.set(total(ops) - unfinished(ops))
		if unfinished(ops) == 0 {
			return ops, nil
		}
		select {
		case <-time.After(pause):
		case <-over:
			return ops, nil
		case <-ctx.Done():
			return ops, nil
		}
	}
}

// pollAll reads the operations again.
func pollAll(ctx context.Context, read reader, ops []tasks.Operation) ([]tasks.Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out := make([]tasks.Operation, len(ops))
	for i, op := range ops {
		if op.Sealed() {
			out[i] = op
			continue
		}
		var err error
		if out[i], err = read(ctx, op.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// outcome turns the result of waiting into an error with its exit code.
func outcome(ctx context.Context, ops []tasks.Operation) error {
	c := sum(ops)
	if n := unfinished(ops); n > 0 {
		why := "--timeout is over"
		if ctx.Err() != nil {
			why = "you stopped waiting; the work continues"
		}
		return fail(exitRunning, checkLater(ops), "%s: %s not finished", why, share(n, total(ops), "desktop"))
	}
	switch {
	case c.Failed > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Failed })
		return fail(exitFailed, fmt.Sprintf("detachd desktops %s --state failed shows why; detachd retry %s retries them", id, id),
			"%s failed", share(c.Failed, total(ops), "desktop"))
	case c.Held > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Held })
		return fail(exitHeld, fmt.Sprintf("detachd desktops %s --state held shows why; detachd retry %s --held checks them again, "+
			"detachd cancel %s cancels them", id, id, id), "%s on hold", share(c.Held, total(ops), "desktop"))
	case c.Cancelled > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Cancelled })
		return fail(exitFailed, fmt.Sprintf("detachd desktops %s --state cancelled shows which", id),
			"%s cancelled before being sent", share(c.Cancelled, total(ops), "desktop"))
	}
	return nil
}

func firstWith(ops []tasks.Operation, n func(tasks.Counts) int) string {
	for _, op := range ops {
		if n(op.Counts) > 0 {
			return op.ID
		}
	}
	return ""
}

func checkLater(ops []tasks.Operation) string {
	var each []string
	for _, op := range ops {
		if !op.Done() {
			each = append(each, "detachd status "+op.ID)
		}
	}
	if len(each) == 0 {
		return "detachd list"
	}
	return "check with " + strings.Join(each[:min(5, len(each))], ", ") + " (add --wait to continue waiting)"
}

func total(ops []tasks.Operation) (n int) {
	for _, op := range ops {
		n += op.Total
	}
	return n
}

// unfinished counts the desktops that still need work, confirmation included. An
// operation counts until its end is recorded.
func unfinished(ops []tasks.Operation) (n int) {
	for _, op := range ops {
		if !op.Sealed() {
			n += max(1, op.Counts.Unsettled())
		}
	}
	return n
}

func sum(ops []tasks.Operation) (c tasks.Counts) {
	for _, op := range ops {
		c.Add(op.Counts)
	}
	return c
}

// bar shows progress on a terminal only.
type bar struct{ *progressbar.ProgressBar }

func (p *Program) newBar(total int) bar {
	if p.quiet || !terminal(p.Stderr) {
		return bar{}
	}
	return bar{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(p.Stderr), progressbar.OptionShowCount(), progressbar.OptionSetWidth(40),
		progressbar.OptionSetDescription("desktops"), progressbar.OptionSetPredictTime(false),
		progressbar.OptionThrottle(50*time.Millisecond))}
}

func (b bar) set(n int) {
	if b.ProgressBar != nil {
		_ = b.Set(n)
	}
}

// of sets the total.
func (b bar) of(total int) {
	if b.ProgressBar != nil && b.GetMax() != total {
		b.ChangeMax(total)
	}
}

func (b bar) end() {
	if b.ProgressBar != nil {
		_ = b.Exit()
	}
}
