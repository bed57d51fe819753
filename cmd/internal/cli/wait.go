package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"

	"github.com/detachd/detachd/tasks"
)

const (
	firstLook    = 50 * time.Millisecond
	longestPause = time.Second
	awayPatience = 30 * time.Second // how long waiting goes on while Redis or the server is away
)

// waitOptions are the flags of commands that can wait for operations.
type waitOptions struct {
	on      bool
	timeout time.Duration
}

func (o *waitOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.on, "wait", false, "wait until every desktop is proven detached, failed or held")
	f.DurationVar(&o.timeout, "timeout", 0, "with --wait: stop waiting after that `time`, for example 10m (default: never)")
}

func (o *waitOptions) check() error {
	switch {
	case o.timeout < 0:
		return usage("give a duration such as 10m", "--timeout is negative")
	case o.timeout > 0 && !o.on:
		return usage("add --wait or leave --timeout out", "--timeout means nothing without --wait")
	}
	return nil
}

// waitAndShow waits for operations and prints what became of them. The error
// carries the exit code that belongs to that.
func (p *Program) waitAndShow(ctx context.Context, c *client, ops []tasks.Operation, o waitOptions, asJSON bool, list listView) error {
	for _, op := range ops {
		p.say("operation %s: %s of project %s %s; waiting", op.ID, size(op), op.Project, fate(op, p.Now()))
	}
	ops, err := p.wait(ctx, c.look, ops, o.timeout)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(p.Stdout, detachView{p.view(ops), list})
	} else {
		err = p.operationsTable(ops).print(p.Stdout)
	}
	if err != nil {
		return err
	}
	return outcome(ctx, ops)
}

// reader reads an operation.
type reader func(ctx context.Context, id string) (tasks.Operation, error)

// look is a reader.
func (c *client) look(ctx context.Context, id string) (tasks.Operation, error) {
	op, err := c.OperationState(ctx, id)
	return op.Operation, err
}

// wait returns the operations as they are when all are done, or ctx ends, or
// timeout (0: none) is over.
func (p *Program) wait(ctx context.Context, read reader, ops []tasks.Operation, timeout time.Duration) ([]tasks.Operation, error) {
	var over <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		over = t.C
	}
	bar := p.newBar(total(ops))
	defer bar.end()
	answered := time.Now()
	for pause := firstLook; ; pause = min(2*pause, longestPause) {
		// A look at the record is finished even if waiting is over by then.
		now, err := look(context.WithoutCancel(ctx), read, ops)
		switch {
		case err == nil:
			ops, answered = now, time.Now()
		case ctx.Err() == nil && mayPass(err) && time.Since(answered) < awayPatience:
			pause = max(pause, min(retryAfter(err), awayPatience))
		default:
			f := explain(err)
			return nil, &failure{f.code, fmt.Errorf("waiting ended, the work goes on: %w", f.err), lookAgain(ops)}
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

// look reads the operations again.
func look(ctx context.Context, read reader, ops []tasks.Operation) ([]tasks.Operation, error) {
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

// outcome gives the exit code of waiting for operations, as an error.
func outcome(ctx context.Context, ops []tasks.Operation) error {
	c := sum(ops)
	if n := unfinished(ops); n > 0 {
		why := "--timeout is over"
		if ctx.Err() != nil {
			why = "you stopped waiting; the work goes on"
		}
		return fail(exitRunning, lookAgain(ops), "%s: %d of %d desktops are not finished", why, n, total(ops))
	}
	switch {
	case c.Failed > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Failed })
		return fail(exitFailed, fmt.Sprintf("detachd desktops %s --state failed says why; detachd retry %s tries them again", id, id),
			"%d of %d desktops failed", c.Failed, total(ops))
	case c.Held > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Held })
		return fail(exitHeld, fmt.Sprintf("detachd desktops %s --state held says why; detachd retry %s --held looks at them again, detachd cancel %s drops them", id, id, id),
			"%d of %d desktops are held", c.Held, total(ops))
	case c.Cancelled > 0:
		id := firstWith(ops, func(c tasks.Counts) int { return c.Cancelled })
		return fail(exitFailed, fmt.Sprintf("detachd desktops %s --state cancelled shows which", id),
			"%d of %d desktops were cancelled before they were sent", c.Cancelled, total(ops))
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

func lookAgain(ops []tasks.Operation) string {
	var each []string
	for _, op := range ops {
		if !op.Done() {
			each = append(each, "detachd status "+op.ID)
		}
	}
	if len(each) == 0 {
		return "detachd list"
	}
	return "look again with " + strings.Join(each[:min(5, len(each))], ", ") + " (--wait goes on waiting)"
}

func total(ops []tasks.Operation) (n int) {
	for _, op := range ops {
		n += op.Total
	}
	return n
}

// unfinished counts the desktops that a worker has something to do for, to prove
// them included. An operation whose end is not yet written is not over.
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

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct{ *progressbar.ProgressBar }

func (p *Program) newBar(total int) bar {
	if !terminal(p.Stderr) {
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

// of says how many there are, where that has changed.
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
