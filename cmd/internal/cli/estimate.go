package cli

import (
	"context"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// sayEstimate prints how long the desktops of projects take at the limits of the
// credentials, if that is minutes, without what is queued already. The estimate is
// optional: if the limits cannot be read, nothing is printed.
func (p *Program) sayEstimate(ctx context.Context, c *client, desktops map[string]int) {
	total := 0
	for _, n := range desktops {
		total += n
	}
	if total <= apiclient.MaxDesktopsPerCall { // one call
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	projects, err := c.Projects(ctx)
	if err != nil {
		return
	}
	if minutes, perMinute := estimate(desktops, projects); minutes > 1 {
		p.note("about %d minutes at %s a minute, each of up to %d desktops", minutes, count(perMinute, "call"), apiclient.MaxDesktopsPerCall)
	}
}

// estimate gives the minutes that the calls take, rounded up, and the limit of the
// slowest credential. 0: no limit applies.
func estimate(desktops map[string]int, projects []api.Project) (minutes, perMinute int) {
	of := map[string]int{} // by credential, which projects may share
	for _, x := range projects {
		of[x.Limits.Credential] += desktops[x.Alias]
	}
	for _, x := range projects {
		limit := x.Limits.CallsPerMinute
		if limit == 0 {
			continue
		}
		calls := divideUp(of[x.Limits.Credential], apiclient.MaxDesktopsPerCall)
		if m := divideUp(calls, limit); m > minutes {
			minutes, perMinute = m, limit
		}
	}
	return minutes, perMinute
}

func divideUp(n, by int) int { return (n + by - 1) / by }

// rowsByProject counts the rows of operations; a user counts as one, and may have several.
func rowsByProject(ops []tasks.Operation) map[string]int {
	out := map[string]int{}
	for _, op := range ops {
		out[op.Project] += op.Total
	}
	return out
}
