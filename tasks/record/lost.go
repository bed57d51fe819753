package record

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// Lost is a person of a project from whom desktops were detached.
type Lost struct {
	Name     string
	IDs      []string      `json:",omitempty"` // user ids that were read
	Unread   bool          `json:",omitempty"` // of a desktop no reading has the user id
	Desktops []LostDesktop // each once, the last time that it was detached
}

// LostDesktop is a desktop that a person lost.
type LostDesktop struct {
	ID          string
	Operation   string
	At          time.Time // confirmed
	GivenBackBy string    `json:",omitempty"` // see tasks.Desktop.GivenBackBy
}

// Losses are who lost desktops of a project, by name in NFC.
type Losses struct {
	People   map[string]*Lost
	Groups   map[string]bool // identities of the groups that lost a desktop
	Desktops int             // rows
}

// Keeps is the time before which operations may have been removed.
func (r *Record) Keeps(now time.Time) time.Time { return now.Add(-r.retention) }

// DetachedSince reads from whom desktops of some projects were detached, with a confirmation at
// or after since; ErrTooManyReviewed if they are too many.
//
// It reads the operations that ended since then, or have not ended, and no others; of those
// with a detached desktop it reads every chunk and its trail.
func (r *Record) DetachedSince(ctx context.Context, projects []string, since time.Time) (map[string]*Losses, error) {
	out := map[string]*Losses{}
	for _, project := range projects {
		out[project] = &Losses{People: map[string]*Lost{}, Groups: map[string]bool{}}
	}
	err := r.eachEndedSince(ctx, since, func(ops []Operation) error {
		var places []chunkPlace
		for _, op := range ops {
			if out[op.Project] == nil || op.UndoOf != "" || op.Counts.Detached == 0 {
				continue
			}
			for n := range op.Chunks() {
				if !op.LooksUp(n) {
					places = append(places, placeOf(op, n))
				}
			}
		}
		for some := range slices.Chunk(places, 64) {
			if err := r.addLosses(ctx, out, some, since); err != nil {
				return err
			}
			people := 0
			for _, losses := range out {
				people += len(losses.People)
			}
			if people > tasks.MaxReviewed {
				return tasks.ErrTooManyReviewed
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading who was detached since %s: %w", since.UTC().Format(time.RFC3339), err)
	}
	return out, nil
}

// eachEndedSince passes on the operations that have not ended before a time, each once.
func (r *Record) eachEndedSince(ctx context.Context, since time.Time, each func([]Operation) error) error {
	seen := map[string]bool{}
	// An operation that ends meanwhile leaves the open ones for the ended ones; one that is
	// retried goes back.
	for _, list := range []struct {
		key string
		low int64
	}{{r.keys.openOps(), math.MinInt64}, {r.keys.endedOps(), earliest(since)}, {r.keys.openOps(), math.MinInt64}} {
		for last, ended := latest, false; !ended; {
			var places []place
			var err error
			if places, ended, err = r.after(ctx, list.key, last, pageReads, list.low); err != nil {
				return err
			}
			var ids []string
			for _, x := range places {
				if last = x; !seen[x.member] {
					seen[x.member] = true
					ids = append(ids, x.member)
				}
			}
			ops, err := r.operations(ctx, ids)
			if err == nil {
				err = each(ops)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// addLosses adds the people who lost desktops by the rows of some chunks.
func (r *Record) addLosses(ctx context.Context, out map[string]*Losses, places []chunkPlace, since time.Time) error {
	rows, err := r.rowsOf(ctx, places)
	if err != nil {
		return err
	}
	for len(rows) > 0 {
		op, n := rows[0].op, 1
		for n < len(rows) && rows[n].op.ID == op.ID {
			n++
		}
		given := make([]Row, n)
		for i, row := range rows[:n] {
			given[i] = row.Row
		}
		if err := r.addGivenBack(ctx, op, given); err != nil {
			return err
		}
		for i, row := range rows[:n] {
			if row.State == tasks.StateDetached && row.UpdatedAt.UnixMilli() >= since.UnixMilli() {
				out[op.Project].add(row.rowTrail, given[i].GivenBackBy)
			}
		}
		rows = rows[n:]
	}
	return nil
}

// add adds who lost the desktop of a row: the users whom the last reading before a call showed
// and who were to lose it, else those who were named.
func (l *Losses) add(row rowTrail, givenBackBy string) {
	l.Desktops++
	lost := LostDesktop{ID: row.ID, Operation: row.OperationID, At: row.UpdatedAt, GivenBackBy: givenBackBy}
	read := false
	for _, b := range slices.Backward(row.befores) {
		users := losers(row.Row, b.Users)
		for _, u := range users {
			if read = true; u.Type == "GROUP" {
				l.Groups[u.Identity()] = true
			} else {
				l.person(u.Name).add(u.ID, lost)
			}
		}
		if read {
			return
		}
	}
	for _, name := range row.Expect {
		l.person(name).add("", lost)
	}
}

func (l *Losses) person(name string) *Lost {
	key := norm.NFC.String(name)
	if l.People[key] == nil {
		l.People[key] = &Lost{Name: name}
	}
	return l.People[key]
}

func (l *Lost) add(id string, lost LostDesktop) {
	if id == "" {
		l.Unread = true
	} else if !slices.Contains(l.IDs, id) {
		l.IDs = append(l.IDs, id)
	}
	for i, d := range l.Desktops {
		if d.ID == lost.ID {
			if lost.At.After(d.At) {
				l.Desktops[i] = lost
			}
			return
		}
	}
	l.Desktops = append(l.Desktops, lost)
}

// Parts lists the people by name, in parts; first is the number of the first part.
func (l *Losses) Parts(project string, first int) (out []ReviewPart) {
	people := make([]Lost, 0, len(l.People))
	for _, x := range l.People {
		people = append(people, *x)
	}
	slices.SortFunc(people, func(a, b Lost) int { return strings.Compare(a.Name, b.Name) })
	for some := range slices.Chunk(people, reviewPart) {
		out = append(out, ReviewPart{first + len(out), project, some})
	}
	return out
}
