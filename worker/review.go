package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// reviewAtOnce is how many projects of a review are read at a time.
const reviewAtOnce = 8

// ReadReview reads a review of access on, as Planner.Read does a plan. A project that cannot be
// read is noted, and the others are read all the same.
func ReadReview(ctx context.Context, w *record.ReviewWork, planner func(project string) (*Planner, error), log zerolog.Logger) error {
	ended, err := whileAsked(ctx, planBeat, w.Keep, func(ctx context.Context) error {
		left, err := w.Load(ctx)
		if err != nil {
			return err
		}
		var work sync.WaitGroup
		slots := make(chan struct{}, reviewAtOnce)
		errs := make([]error, len(w.Scope))
		for i, project := range w.Scope {
			work.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				errs[i] = readReviewIn(ctx, w, project, left[project], planner, log)
			})
		}
		work.Wait()
		return errors.Join(errs...)
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), planBeat)
	defer cancel()
	switch {
	case err == nil:
		return w.End(last, time.Now(), "")
	case errors.Is(err, tasks.ErrTooManyReviewed):
		return w.End(last, time.Now(), tasks.ErrTooManyReviewed.Error())
	case ended:
		return w.Leave(last)
	}
	return errors.Join(err, w.Leave(last))
}

// readReviewIn reads one project. An error is not the cloud's.
func readReviewIn(
	ctx context.Context, w *record.ReviewWork, project string, parts []record.ReviewPart,
	planner func(project string) (*Planner, error), log zerolog.Logger,
) error {
	if len(parts) == 0 {
		return nil
	}
	p, err := planner(project)
	if err != nil {
		log.Error().Err(err).Str("project", project).Msg("who has a desktop again cannot be read")
		return w.Unread(ctx, project, "the server cannot read this project: its log says why")
	}
	err = p.returns(w.Reading).all(ctx, parts, func(part record.ReviewPart, rows []tasks.Returned) error { return w.Add(ctx, part, rows) })
	if _, cannot := errors.AsType[unreadable](err); err == nil || !cannot && !ofCloud(err) || ctx.Err() != nil {
		return err
	}
	log.Warn().Err(err).Str("project", project).Msg("who has a desktop again could not be read completely")
	return w.Unread(ctx, project, err.Error())
}

// CameBack reads who of the people from whom desktops of the project were detached since a time
// has one now. With an error the list is not whole.
func (p *Planner) CameBack(ctx context.Context, since time.Time) (out []tasks.Returned, err error) {
	project := p.project.Alias
	if since.Before(p.record.Keeps(time.Now()).Add(-time.Hour)) { // an hour: since may be as old as the retention
		return nil, unreadable("the record does not keep so long who was detached: look back less far, or keep operations longer")
	}
	lost, err := p.record.DetachedSince(ctx, []string{project}, since)
	if errors.Is(err, tasks.ErrTooManyReviewed) {
		err = unreadable(err.Error())
	}
	if err != nil {
		return nil, err
	}
	err = p.returns(func() {}).all(ctx, lost[project].Parts(project, 0), func(_ record.ReviewPart, rows []tasks.Returned) error {
		out = append(out, rows...)
		return nil
	})
	return out, err
}

// returns reads who of the people that lost desktops of a project has one now.
type returns struct {
	finder
	answered bool // the cloud has answered
	listed   []apiclient.Person
	refusal  error     // why they are not shown
	listedAt time.Time // when listed began to be read
	nameless bool      // the record has somebody without a name
}

// returns makes the reading; count is called with each reading of the cloud.
func (p *Planner) returns(count func()) *returns {
	return &returns{finder: finder{
		api: p.project.API, alias: p.project.Alias, report: func(ReadingOf, int, time.Time, error) {},
		admit: func(ctx context.Context) error {
			err := p.limit.acquire(ctx, readRequest, toHint)
			if err == nil {
				count()
			}
			return err
		},
	}}
}

// all reads parts, and passes on what each has.
func (x *returns) all(ctx context.Context, parts []record.ReviewPart, add func(record.ReviewPart, []tasks.Returned) error) error {
	var unknown error // why the counts of Workspace are not known
	for again := range 2 {
		begun := time.Now()
		var doubted []record.ReviewPart
		for _, part := range parts {
			since := begun
			if age := time.Now().Add(-directoryAge); age.After(begun) {
				since = age
			}
			rows, doubt, refusal, err := x.part(ctx, part, since)
			if err != nil {
				return err
			}
			unknown = cmp.Or(unknown, refusal)
			if doubt && again == 0 {
				doubted = append(doubted, part) // somebody may have lost a desktop between two readings
			} else if err := add(part, rows); err != nil {
				return err
			}
		}
		parts = doubted
	}
	if x.nameless {
		return unreadable("somebody whom the cloud listed without a name was detached, and cannot be looked for")
	}
	if unknown != nil {
		return fmt.Errorf("the users of Workspace could not be listed, so desktops that are counted and not listed are unknown: %w", unknown)
	}
	return nil
}

// part reads up to a hundred people. doubt means that Workspace counts more desktops of one of
// them than it lists. refusal is that it does not show what it counts.
func (x *returns) part(
	ctx context.Context, part record.ReviewPart, since time.Time,
) (out []tasks.Returned, doubt bool, refusal, err error) {
	people, refusal, err := x.people(ctx, since)
	if err != nil {
		return nil, false, nil, err
	}
	named := map[string][]apiclient.Person{}
	var names []string
	for _, lost := range part.People {
		if lost.Name == "" {
			x.nameless = true
			continue
		}
		named[policy.NameKey(lost.Name)] = nil
		names = append(names, lost.Name)
	}
	for _, p := range people {
		key := policy.NameKey(p.Name)
		if known, wanted := named[key]; wanted {
			named[key] = append(known, p)
			if !slices.Contains(names, p.Name) { // the cloud's filter may need the name as the cloud spells it
				names = append(names, p.Name)
			}
		}
	}
	listed := map[string][]apiclient.Desktop{} // by the names of their users
	for some := range slices.Chunk(names, apiclient.MaxDesktopsPerCall) {
		var desktops []apiclient.Desktop
		err := x.tried(ctx, func() (err error) {
			desktops, err = x.list(ctx, readUsers, some, x.api.DesktopsOf)
			return err
		})
		if err != nil {
			return nil, false, nil, err
		}
		for _, d := range desktops {
			for _, u := range d.Users {
				key := policy.NameKey(u.Name)
				known := slices.ContainsFunc(listed[key], func(has apiclient.Desktop) bool { return has.ID == d.ID })
				if !policy.IsGroup(u) && !known {
					listed[key] = append(listed[key], d)
				}
			}
		}
	}
	for _, lost := range part.People {
		key := policy.NameKey(lost.Name)
		if lost.Name == "" {
			continue
		}
		for _, d := range listed[key] {
			out = append(out, x.cameBack(lost, d))
		}
		if row, more := x.byGroup(lost, named[key], len(listed[key])); more {
			doubt = true
			out = append(out, row)
		}
	}
	return out, doubt, refusal, nil
}

// people lists the users of Workspace as they were at a time, or later, each page within the
// limit of readings. refusal is that the cloud does not show them.
func (x *returns) people(ctx context.Context, since time.Time) (people []apiclient.Person, refusal, err error) {
	if !x.listedAt.IsZero() && !x.listedAt.Before(since) {
		return x.listed, x.refusal, nil
	}
	begun := time.Now()
	pages := func(read func() error) error {
		return x.tried(ctx, func() error {
			if err := x.admit(ctx); err != nil {
				return err
			}
			return read()
		})
	}
	for p, err := range x.api.People(ctx, pages) {
		if err != nil && !Refused(err) {
			return nil, nil, err
		}
		if err != nil {
			people, refusal = nil, err
			break
		}
		people = append(people, p)
	}
	x.listed, x.refusal, x.listedAt = people, refusal, begun
	return people, refusal, nil
}

func (x *returns) tried(ctx context.Context, read func() error) error {
	err := tried(ctx, func() bool { return x.answered }, read)
	x.answered = x.answered || err == nil
	return err
}

// unreadable says why people cannot be looked for.
type unreadable string

func (u unreadable) Error() string { return string(u) }

// cameBack is a desktop that a person has.
func (x *returns) cameBack(lost record.Lost, d apiclient.Desktop) tasks.Returned {
	row := x.row(lost, d.ID)
	row.AccessDesktop = accessDesktop(x.alias, d)
	switch {
	case row.DetachedDesktopID == d.ID && row.UndoID != "":
		row.How = tasks.CameByUndo
	case row.DetachedDesktopID == d.ID:
		row.How = tasks.CameSame
	case d.Type == "SHARED":
		row.How = tasks.CameShared
	default:
		row.How = tasks.CameOther
	}
	if row.How != tasks.CameByUndo {
		row.UndoID = ""
	}
	for _, u := range d.Users {
		if !policy.IsGroup(u) && policy.SameName(u.Name, lost.Name) {
			if row.UserID, row.OtherUser = u.ID, isOther(lost, u.ID); !row.OtherUser {
				break
			}
		}
	}
	return row
}

// row has how a person lost a desktop, or another one if not that one: the last one.
func (x *returns) row(lost record.Lost, desktop string) tasks.Returned {
	last := lost.Desktops[0]
	for _, d := range lost.Desktops {
		if d.ID == desktop {
			last = d
			break
		}
		if d.At.After(last.At) {
			last = d
		}
	}
	return tasks.Returned{
		User: lost.Name, DetachedAt: last.At, DetachedDesktopID: last.ID, DetachedOperationID: last.Operation, UndoID: last.GivenBackBy,
	}
}

// byGroup reports whether Workspace counts more desktops of a person than it lists.
func (x *returns) byGroup(lost record.Lost, people []apiclient.Person, listed int) (row tasks.Returned, more bool) {
	n, id := 0, ""
	for _, p := range people {
		n, id = n+max(0, p.Desktops), p.ID
	}
	if n <= listed {
		return row, false
	}
	row = x.row(lost, "")
	row.AccessDesktop = tasks.AccessDesktop{Project: x.alias, Users: []tasks.Person{}}
	row.How, row.UndoID = tasks.CameByGroup, ""
	row.Why = fmt.Sprintf("Workspace counts %s and lists %d: access may come through a group", counted(n), listed)
	if len(people) == 1 {
		row.UserID, row.OtherUser = id, isOther(lost, id)
	}
	return row, true
}

// isOther reports that a user id is none of those that were detached. Where one of these was
// not read, that is not known.
func isOther(lost record.Lost, id string) bool {
	return id != "" && !lost.Unread && !slices.Contains(lost.IDs, id)
}
