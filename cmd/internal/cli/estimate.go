package cli

import (
	"context"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// sayLongest prints the estimate of the operation that takes longest, if that is minutes or
// not known.
func (p *Program) sayLongest(ops []tasks.Operation) {
	var longest *tasks.Estimate
	for _, op := range ops {
		e := op.Estimate
		if e == nil || e.Why == tasks.EstimateNoLimit {
			continue
		}
		if longest == nil || e.Seconds == 0 || longest.Seconds != 0 && e.Seconds > longest.Seconds {
			longest = e
		}
	}
	if longest != nil && (longest.Seconds == 0 || longest.Seconds > 60) {
		p.note("%s", longest.Text())
	}
}

// sayEstimate prints how long the desktops of projects take, if that is minutes, without
// what is queued already. It is optional: if the limits cannot be read, nothing is printed.
func (p *Program) sayEstimate(ctx context.Context, c *client, desktops map[string]int) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if projects, err := c.Projects(ctx); err == nil {
		p.sayLongest(estimates(desktops, projects, p.Now()))
	}
}

// estimates gives an operation for each project, as if they were requested one after the
// other: projects of one credential share its calls.
func estimates(desktops map[string]int, projects []api.Project, now time.Time) (out []tasks.Operation) {
	before := map[string][]tasks.Line{} // by credential
	for i, x := range projects {
		op := tasks.Operation{ID: x.Alias, Project: x.Alias, AcceptedAt: now.Add(time.Duration(i))}
		op.Counts.Queued = desktops[x.Alias]
		budget := tasks.Budget{
			CallsPerMinute: x.Limits.CallsPerMinute, ReadsPerMinute: x.Limits.ReadsPerMinute, Pause: x.Pause, Blackout: x.Blackout, Workers: 1,
		}
		lines := before[x.Limits.Credential]
		op.Estimate = tasks.EstimateOf(op, now, budget, lines...)
		before[x.Limits.Credential] = append(lines,
			tasks.Line{{Operation: op.ID, Project: x.Alias, AcceptedAt: op.AcceptedAt, Rows: op.Counts.Queued}})
		out = append(out, op)
	}
	return out
}
