package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
)

// checkLimits shows the limit of each credential, and how much of it its projects used in the
// last minute.
func (p *Program) checkLimits(ctx context.Context, s *app.Store, fs *findings) {
	stats, err := s.Record.Stats(ctx, s.Projects, tasks.LastHour, p.Now())
	if err != nil {
		fs.add("limits", bad, "make Redis reachable", "the use of the limits cannot be read: %v", err)
		return
	}
	used, throttled := map[string]float64{}, map[string]int{}
	text := map[string]string{}
	for _, l := range s.Limits() {
		c := l.Credential
		for _, x := range stats {
			if x.Project == l.Alias {
				used[c.Name] += x.CallsPerMinute
				throttled[c.Name] += x.Throttled
			}
		}
		text[c.Name] = "no limit of calls"
		if c.CallsPerMinute > 0 {
			text[c.Name] = fmt.Sprintf("%d calls a minute (%.0f %% in use)", c.CallsPerMinute, 100*used[c.Name]/float64(c.CallsPerMinute))
		}
		if c.ReadsPerMinute > 0 {
			text[c.Name] += fmt.Sprintf(", %d other requests", c.ReadsPerMinute)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(text)) {
		check := "limit " + name
		if n := throttled[name]; n > 0 {
			fs.add(check, warn, "lower calls_per_minute, or find out who else uses the credential",
				"%s; the cloud throttled %s in the last hour", text[name], count(n, "call"))
			continue
		}
		fs.add(check, fine, "", "%s", text[name])
	}
}
