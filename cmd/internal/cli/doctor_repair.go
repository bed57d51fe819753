package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks/record"
)

// lateRound is when the walk through the record should have come round again; it
// takes minutes where there are millions of operations.
const lateRound = 24 * time.Hour

// checkRepair looks at what the record has lost, and at projects that nobody serves.
func checkRepair(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	if all, err := s.Record.Stats(ctx, s.Projects, now()); err == nil {
		for _, x := range all {
			if n := x.Unserved(); n > 0 {
				fs.add("unserved "+x.Project, bad, "start a worker whose configuration has the project; else they fail when their deadline passes",
					"no living worker serves it, and %s wait", count(n, "row"))
			}
		}
	}
	report, err := s.Record.RepairReport(ctx)
	if err != nil {
		fs.add("record", bad, "let the Redis user read and write the keys of detachd", "%v", err)
		return
	}
	fs.repairs(report, now())
}

func (fs *findings) repairs(x record.RepairReport, now time.Time) {
	const check = "record"
	if x.EndedAt.IsZero() {
		fs.add(check, fine, "", "no worker has looked through all of it yet")
		return
	}
	looked := fmt.Sprintf("%s looked through until %s", count(x.Operations, "operation"), clock(x.EndedAt))
	if x.Unreadable > 0 {
		fs.add(check, bad, "find out what else writes to Redis under detachd's prefix; detachd's log and the reports of these operations say what they were about",
			"%s of operations cannot be read; %s", count(x.Unreadable, "part"), looked)
	}
	switch total := x.Repaired.Total(); {
	case now.Sub(x.EndedAt) > lateRound:
		fs.add(check, warn, "look at the workers' logs", "it was not walked through for %s; what Redis loses is not repaired", now.Sub(x.EndedAt).Round(time.Hour))
	case total == 0 && x.Unreadable == 0:
		fs.add(check, fine, "", "%s; nothing was lost", looked)
	case total > 0 && now.Sub(x.RepairedAt) < lateRound:
		fs.add(check, warn, "see whether Redis failed over or restarted, and lost its last second",
			"%s so far, the last at %s: %s; %s, with %s that led to none", count(total, "repair"), clock(x.RepairedAt), kinds(x.Repaired), looked, count(x.Orphans, "reference"))
	case total > 0:
		fs.add(check, fine, "", "%s; %s so far, none since %s", looked, count(total, "repair"), clock(x.RepairedAt))
	}
}

// kinds lists repairs, such as "open 2, listed 1".
func kinds(x record.Repairs) string {
	var parts []string
	for _, kind := range record.RepairKinds {
		if x[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", kind, x[kind]))
		}
	}
	return strings.Join(parts, ", ")
}
