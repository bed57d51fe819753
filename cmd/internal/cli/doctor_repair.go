package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// lateRound is the maximum age of the last check of the record, which takes minutes
// with millions of operations.
const lateRound = 24 * time.Hour

// checkRepair checks for losses in the record, and for projects that no worker serves.
func checkRepair(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	if all, err := s.Record.Stats(ctx, s.Projects, tasks.LastDay, now()); err == nil {
		for _, x := range all {
			if n := x.Unserved(); n > 0 {
				fs.add("unserved "+x.Project, bad, "start a worker with this project in its configuration; "+
					"otherwise they fail when their deadline passes",
					"no running worker serves it; waiting: %s", count(n, "row"))
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
	checked, begun := "no worker has checked the whole record yet", !x.EndedAt.IsZero()
	if begun {
		checked = fmt.Sprintf("%s checked until %s", count(x.Operations, "operation"), clock(x.EndedAt))
	}
	if x.Unreadable > 0 {
		fs.add(check, bad, "find out what else writes to Redis under detachd's prefix, and submit what these operations named again",
			"%s of operations cannot be read: %s; %s", count(x.Unreadable, "part"), strings.Join(x.UnreadableIn, ", "), checked)
	}
	switch total := x.Repaired.Total(); {
	case begun && now.Sub(x.EndedAt) > lateRound:
		fs.add(check, warn, "check the logs of the workers", "it was not checked for %s; losses of Redis are not repaired",
			now.Sub(x.EndedAt).Round(time.Hour))
	case x.Orphans > 0 && (total == 0 || now.Sub(x.RepairedAt) >= lateRound):
		fs.add(check, warn, "check whether Redis loses data, and find out what else writes under detachd's prefix",
			"%s; dangling references: %d", checked, x.Orphans)
	case !begun && total == 0:
		fs.add(check, fine, "", "%s", checked)
	case total == 0 && x.Unreadable == 0:
		fs.add(check, fine, "", "%s; nothing was lost", checked)
	case total > 0 && now.Sub(x.RepairedAt) < lateRound:
		fs.add(check, warn, "check whether Redis failed over or restarted, and lost its last second",
			"%s so far, the latest at %s: %s; %s, dangling references: %d",
			count(total, "repair"), clock(x.RepairedAt), kinds(x.Repaired), checked, x.Orphans)
	case total > 0:
		fs.add(check, fine, "", "%s; %s so far, none since %s", checked, count(total, "repair"), clock(x.RepairedAt))
	}
}

// kinds counts repairs by kind, such as "open 2, listed 1".
func kinds(x record.Repairs) string {
	var parts []string
	for _, kind := range record.RepairKinds {
		if x[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", kind, x[kind]))
		}
	}
	return strings.Join(parts, ", ")
}
