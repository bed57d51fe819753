package cli

import (
	"context"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// sayHowLong says how long the desktops of projects take at the limits of the
// credentials, where that is minutes: what waits already comes on top. It is a service:
// when the limits cannot be found out, nothing is said.
func (p *Program) sayHowLong(ctx context.Context, c *client, desktops map[string]int) {
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
	if minutes, perMinute := howLong(desktops, projects); minutes > 1 {
		p.say("about %d minutes at %s a minute, each of up to %d desktops", minutes, count(perMinute, "call"), apiclient.MaxDesktopsPerCall)
	}
}

// howLong gives the minutes that the calls take, rounded up, and the limit that makes
// it so: of the credential that takes longest. 0: nothing limits them.
func howLong(desktops map[string]int, projects []api.Project) (minutes, perMinute int) {
	of := map[string]int{} // by credential: projects share it
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

// rowsByProject counts the rows of operations. A user is at least one.
func rowsByProject(ops []tasks.Operation) map[string]int {
	out := map[string]int{}
	for _, op := range ops {
		out[op.Project] += op.Total
	}
	return out
}
