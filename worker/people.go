package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// lookUp finds the desktops of the users that an operation names and makes them
// rows of it. after > 0 asks for another run.
func (s *sender) lookUp(ctx context.Context, id string) (after time.Duration, err error) {
	claim := tasks.Claim{Project: s.project.Alias, Holder: s.worker + "/" + xid.New().String(), Desktops: []string{"the users of " + id}}
	got, err := s.record.Claim(ctx, claim, s.lease())
	if paused := (*tasks.PausedError)(nil); errors.As(err, &paused) {
		return jitter(max(recheckPause, min(paused.For, time.Minute))), nil
	}
	if err != nil {
		return 0, err
	}
	if !got[0] {
		return jitter(busyDelay), nil // a handler of another of its chunks is at it
	}
	defer func() { err = errors.Join(err, s.record.Release(s.ctx, claim)) }()
	op, err := s.record.Operation(ctx, id)
	if err != nil {
		return 0, err
	}
	found, err := s.record.Found(ctx, id)
	if err != nil {
		return 0, err
	}
	if found == nil {
		rows, err := s.record.UserRows(ctx, op)
		if err != nil {
			return 0, err
		}
		rows = inState(rows, tasks.Queued)
		if len(rows) == 0 {
			return 0, nil
		}
		listed, err := s.desktopsOf(ctx, rows)
		if err != nil {
			return s.backoff(rows[0].Attempts + 3), nil
		}
		named, err := s.record.Expected(ctx, op)
		if err != nil {
			return 0, err
		}
		find := matchUsers(s.now(), rows, listed, named)
		if op, err = s.producer.AddFound(ctx, op, find); errors.Is(err, tasks.ErrOvertaken) {
			return jitter(busyDelay), nil
		} else if err != nil {
			return 0, err
		}
		found = find.Users
		s.log.Info().Str("project", op.Project).Str("operation", op.ID).Int("users", len(rows)).Int("desktops", len(find.Desktops)).
			Msg("users were looked up")
	}
	changes, applied, err := s.record.SettleUsers(ctx, s.now(), op, found, s.worker)
	for i, a := range applied {
		tellMoves(s.observer, changes[i], a)
		if a.Ended {
			s.ended(op.ID)
		}
	}
	return 0, err
}

// desktopsOf lists what the cloud associates with the users' names.
func (s *sender) desktopsOf(ctx context.Context, rows []tasks.Desktop) ([]apiclient.Desktop, error) {
	var out []apiclient.Desktop
	for some := range slices.Chunk(rows, apiclient.MaxDesktopsPerCall) {
		names := make([]string, len(some))
		for i, d := range some {
			names[i], _ = d.User()
		}
		if err := s.admit(ctx); err != nil {
			return nil, err
		}
		begun := s.now()
		list, err := s.project.API.DesktopsOf(ctx, names)
		s.tellReading(ReadUsers, len(names), begun, err)
		if err != nil {
			s.log.Warn().Err(err).Str("project", s.project.Alias).Int("users", len(names)).Msg("users could not be looked up; trying again")
			s.afterReadError(err)
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// matchUsers compares names exactly. named are the desktops that have rows already,
// with their expected users: a desktop has one row in an operation. A user without a desktop is done with; but a
// name that differs from one the cloud lists only in the case of letters is
// more likely a slip than another person, and taking it for "no desktop" would
// leave a leaver with access.
func matchUsers(now time.Time, rows []tasks.Desktop, listed []apiclient.Desktop, named map[string][]string) tasks.Find {
	f := tasks.Find{Expect: map[string][]string{}, Users: map[string]tasks.UserFind{}}
	wanted := map[string]bool{}
	folded := map[string][]string{}
	for _, d := range rows {
		name, _ := d.User()
		wanted[name] = true
	}
	has, others := map[string]int{}, map[string][]string{}
	for _, d := range listed {
		for _, u := range d.Users {
			if isGroup(u) {
				continue
			}
			if !wanted[u.Name] {
				key := strings.ToLower(u.Name)
				folded[key] = append(folded[key], u.Name)
				continue
			}
			if slices.Contains(f.Expect[d.ID], u.Name) {
				continue
			}
			if expected, known := named[d.ID]; known {
				has[u.Name]++
				if len(expected) > 0 && !slices.Contains(expected, u.Name) {
					others[u.Name] = append(others[u.Name], d.ID)
				}
				continue
			}
			if len(f.Expect[d.ID]) == 0 {
				f.Desktops = append(f.Desktops, d.ID)
			}
			f.Expect[d.ID] = append(f.Expect[d.ID], u.Name)
			has[u.Name]++
		}
	}
	for _, d := range rows {
		name, _ := d.User()
		near := folded[strings.ToLower(name)]
		slices.Sort(near)
		switch {
		case len(others[name]) > 0:
			f.Users[name] = tasks.UserFind{To: tasks.Held, Failure: &tasks.Failure{
				Code: "NAMED_FOR_OTHERS", Class: string(HeldBack), At: now,
				Message: fmt.Sprintf("%q has %s too, which this operation is to take from others only: detach it from them in an operation of its own",
					name, strings.Join(others[name][:min(3, len(others[name]))], ", ")),
			}}
		case has[name] > 0:
			f.Users[name] = tasks.UserFind{To: tasks.Resolved, Detail: fmt.Sprintf("%d desktops", has[name])}
		case len(near) > 0:
			f.Users[name] = tasks.UserFind{To: tasks.Held, Failure: &tasks.Failure{
				Code: "USER_NAME", Class: string(HeldBack), At: now,
				Message: fmt.Sprintf("no desktop has a user %q, but there is %s: name them as the cloud does", name, strings.Join(quoted(slices.Compact(near)), ", ")),
			}}
		default:
			f.Users[name] = tasks.UserFind{To: tasks.NoDesktop}
		}
	}
	return f
}
