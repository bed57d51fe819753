package sources

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// cameBack reads the desktops that people have again who were detached; see Returned.Again. The
// others that they have are for a person to judge, and counted.
func (r *Reader) cameBack(ctx context.Context, s tasks.Schedule, c tasks.CameBack) (Found, error) {
	j, err := r.judge(ctx, s.Project, tasks.Selector{})
	if err != nil {
		return Found{}, err
	}
	rows, err := j.read.CameBack(ctx, r.cfg.Now().Add(-time.Duration(c.Since)))
	if err != nil {
		return Found{}, ofCloud(err)
	}
	expect, left := map[string][]string{}, 0
	for _, row := range rows {
		id := tasks.CanonicalDesktopID(row.DesktopID)
		switch {
		case row.How == tasks.CameByUndo:
		case !row.Again() || tasks.CheckDesktopID(id) != "" || tasks.CheckUserName(row.User) != "" ||
			j.protected(apiclient.Desktop{ID: id, ComputerName: row.ComputerName}, []string{row.User}):
			left++
		default:
			expect[id] = append(expect[id], row.User)
		}
	}
	ids := slices.Sorted(maps.Keys(expect))
	out := Found{Lists: []List{{Requests: split(base(s), ids, nil, nil, expect)}}, Rows: len(ids)}
	if left > 0 {
		out.Note = fmt.Sprintf("%d more desktops of people who came back were not selected: detachd access --since %s shows them", left, c.Since)
	}
	return out, nil
}
