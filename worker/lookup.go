package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker/policy"
)

// lookUp finds the desktops of the users and computers that an operation names. When all are
// found it makes the desktops rows of the operation, so that a desktop has one row however
// many names lead to it. Findings are kept for every hundred names, so that a run after a
// crash, or after the time of a handler, does not begin again. after > 0 asks for another
// run.
func (s *sender) lookUp(ctx context.Context, id string) (after time.Duration, err error) {
	return s.claims.withClaim(ctx, []string{"the look-ups of " + id}, func(got claimed) (time.Duration, error) {
		if !got.mine[0] {
			return jitter(busyDelay), nil // the handler of another of its chunks does it
		}
		op, err := s.record.Operation(ctx, id)
		if err != nil {
			return 0, err
		}
		settled, err := s.record.Found(ctx, id)
		if err != nil {
			return 0, err
		}
		if settled == nil {
			rows, finds, after, err := s.findAll(ctx, op, got.Claim)
			if err != nil || after > 0 || len(rows) == 0 {
				return after, err
			}
			find, err := s.joinFinds(ctx, op, rows, finds)
			if err != nil {
				return 0, err
			}
			if op, err = s.producer.AddFound(ctx, op, find); errors.Is(err, record.ErrOvertaken) {
				return jitter(busyDelay), nil
			} else if err != nil {
				return 0, err
			}
			settled = find.Rows
			s.log.Info().Str("operation", op.ID).Int("looked_up", len(rows)).Int("desktops", len(find.Desktops)).
				Msg("users and computers were looked up")
		}
		changes, applied, err := s.record.SettleLookups(ctx, time.Now(), op, settled, s.cfg.ID)
		s.committer.report(changes, applied)
		return 0, err
	})
}

// findAll looks up what is not looked up yet, a hundred names at a time.
func (s *sender) findAll(
	ctx context.Context, op record.Operation, claim record.Claim,
) (rows []record.Row, finds map[string]record.RowFind, after time.Duration, err error) {
	if rows, err = s.record.LookupRows(ctx, op); err != nil {
		return nil, nil, 0, err
	}
	rows = inState(rows, tasks.StateQueued)
	kept, planned, err := s.record.Finds(ctx, op)
	if err != nil {
		return nil, nil, 0, err
	}
	finds = map[string]record.RowFind{}
	for left := rows; len(left) > 0; {
		chunk, n := left[0].Chunk, 1
		for n < len(left) && left[n].Chunk == chunk {
			n++
		}
		some := left[:n]
		left = left[n:]
		found := kept[chunk]
		if plan, bound := planned[chunk]; bound {
			some = slices.DeleteFunc(slices.Clone(some), func(row record.Row) bool { _, isUser := row.User(); return !isUser })
			maps.Copy(finds, plan)
		}
		if found == nil && len(some) > 0 {
			if found, after, err = s.findSome(ctx, op, chunk, some, claim); err != nil || after > 0 {
				return nil, nil, after, err
			}
		}
		for id, f := range found {
			if plan, shown := planned[chunk][id]; shown {
				f = sincePlan(plan, f)
			}
			finds[id] = f
		}
	}
	return rows, finds, 0, nil
}

// sincePlan is what a plan found for a user, with the desktops that the user got since. The plan
// shows nobody on these, so they are held before their call: without rows they would be forgotten.
func sincePlan(plan, now record.RowFind) record.RowFind {
	since := slices.DeleteFunc(slices.Clone(now.Desktops), func(id string) bool { return slices.Contains(plan.Desktops, id) })
	if len(since) == 0 {
		return plan
	}
	all := slices.Concat(plan.Desktops, since)
	return record.RowFind{To: tasks.StateExpanded, Desktops: all, Detail: counted(len(all)) + ", " + counted(len(since)) + " since the plan"}
}

// findSome looks up the rows of one chunk, and keeps what it found.
func (s *sender) findSome(
	ctx context.Context, op record.Operation, chunk int, rows []record.Row, claim record.Claim,
) (found map[string]record.RowFind, after time.Duration, err error) {
	if ctx.Err() != nil {
		return nil, immediately, nil // the time of this handler is over
	}
	if got, _, err := s.record.Claim(ctx, claim, claimLease); err != nil || !got[0] { // renews the lease
		return nil, jitter(busyDelay), nil
	}
	reading := s.cfg.Spans.Reading(partsIn(ctx), "names", spans.LookUp, s.project.Alias, len(rows))
	found, err = s.finder().find(ctx, rows, op)
	reading.Read(s.faultOf(err).class)
	if err != nil {
		s.log.Warn().Err(err).Int("rows", len(rows)).Msg("users or computers could not be looked up; retrying")
		s.pauseForReading(s.faultOf(err))
		return nil, s.backoff(rows[0].Attempts + 3), nil
	}
	return found, 0, s.record.NoteFinds(ctx, op.ID, chunk, found)
}

// joinFinds joins the finds of all rows into one.
func (s *sender) joinFinds(
	ctx context.Context, op record.Operation, rows []record.Row, finds map[string]record.RowFind,
) (record.Find, error) {
	var ids []string
	for _, f := range finds {
		ids = append(ids, f.Desktops...)
	}
	slices.Sort(ids)
	named, err := s.record.RowsNamed(ctx, op, slices.Compact(ids))
	if err != nil {
		return record.Find{}, err
	}
	return join(rows, finds, named), nil
}

// join joins the finds of all rows into one, in their order. A desktop has one row: existing
// are those that the operation has already. A user's row adds the user to those who lose a
// desktop; a computer's row adds the users that it names. If an existing row of a desktop
// is for other users only, the row that led to it is held: its users would keep access.
func join(rows []record.Row, finds map[string]record.RowFind, existing map[string]record.Row) record.Find {
	out := record.Find{Expect: map[string][]string{}, FoundAs: map[string]string{}, Rows: map[string]record.RowFind{}}
	known := map[string]bool{}
	for _, row := range rows {
		f, looked := finds[row.ID]
		if !looked {
			continue
		}
		expect := row.Expect
		user, isUser := row.User()
		if isUser {
			expect = []string{user}
		}
		var others []string
		for _, id := range f.Desktops {
			if other, has := existing[id]; has {
				if !covers(other.Expect, expect, isUser) {
					others = append(others, id)
				}
				continue
			}
			if !known[id] {
				known[id] = true
				out.Desktops = append(out.Desktops, id)
			}
			for _, name := range expect {
				if !slices.Contains(out.Expect[id], name) {
					out.Expect[id] = append(out.Expect[id], name)
				}
			}
			if name, isComputer := row.Computer(); isComputer {
				out.FoundAs[id] = name
			}
		}
		if len(others) > 0 {
			f = hold(tasks.CodeNamedForOthers,
				"%s also leads to %s, which this operation names for other users, or for none: detach it in an operation of its own",
				quotedRow(row), strings.Join(others[:min(3, len(others))], ", "))
			f.Failure.Expect = row.Expect
		}
		f.Desktops = nil
		out.Rows[row.ID] = f
	}
	return out
}

// covers reports whether a row that removes the users have from a desktop also does what a
// row that removes want would do. Empty is all users.
func covers(have, want []string, ofUser bool) bool {
	if len(have) == 0 {
		return ofUser || len(want) == 0 // a computer's row that names users guards against others
	}
	for _, name := range want {
		if !slices.Contains(have, name) {
			return false
		}
	}
	return len(want) > 0
}

// quotedRow names a row for people.
func quotedRow(row record.Row) string {
	if name, isUser := row.User(); isUser {
		return fmt.Sprintf("user %q", name)
	}
	name, _ := row.Computer()
	return fmt.Sprintf("computer %q", name)
}

// finder looks up users and computers in one project.
type finder struct {
	api       API
	admit     func(ctx context.Context) error // waits for the permit of one reading
	report    func(of ReadingOf, asked int, begun time.Time, err error)
	directory *directory
	alias     string // of the project
	unknown   string // Project.UnknownUsers
}

func (s *sender) finder() *finder {
	return &finder{
		api: s.project.API, directory: s.directory, alias: s.project.Alias, unknown: s.project.UnknownUsers, report: s.reportReading,
		admit: func(ctx context.Context) error { return s.limit.acquire(ctx, readRequest, s.priority) },
	}
}

// find looks up as many as 100 rows, of users and of computers. An error is the cloud's.
func (f *finder) find(ctx context.Context, rows []record.Row, op record.Operation) (map[string]record.RowFind, error) {
	var users, computers []record.Row
	for _, row := range rows {
		if _, isUser := row.User(); isUser {
			users = append(users, row)
		} else {
			computers = append(computers, row)
		}
	}
	out := map[string]record.RowFind{}
	if err := f.findUsers(ctx, users, op, out); err != nil {
		return nil, err
	}
	return out, f.findComputers(ctx, computers, out)
}

func (f *finder) list(
	ctx context.Context, of ReadingOf, names []string, list func(context.Context, []string) ([]apiclient.Desktop, error),
) ([]apiclient.Desktop, error) {
	if err := f.admit(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	ds, err := list(ctx, names)
	f.report(of, len(names), begun, err)
	return ds, err
}

// listEach is list without the names that the cloud refuses to look for: with one of them a list of
// a hundred leavers would be refused for ever. refused has its answers, by name.
func (f *finder) listEach(
	ctx context.Context, of ReadingOf, names []string, list func(context.Context, []string) ([]apiclient.Desktop, error),
) (ds []apiclient.Desktop, refusals map[string]error, err error) {
	refusals = map[string]error{}
	for len(names) > 0 {
		if ds, err = f.list(ctx, of, names, list); err == nil || !refused(err) {
			return ds, refusals, err
		}
		bad := asAPIError(err).About
		if !slices.Contains(names, bad) {
			return ds, refusals, err
		}
		refusals[bad] = err
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == bad })
	}
	return nil, refusals, nil
}

// withoutRefused holds the rows of users whose names are refused, and returns the others.
func (f *finder) withoutRefused(rows []record.Row, refusals map[string]error, out map[string]record.RowFind) (others []record.Row) {
	for _, row := range rows {
		name, _ := row.User()
		held := false
		for refused, why := range refusals {
			if policy.SameName(refused, name) {
				held = true
				out[row.ID] = hold(tasks.CodeUserUnknown, "the cloud does not look for a user %q in project %s: %v", refused, f.alias, why)
			}
		}
		if !held {
			others = append(others, row)
		}
	}
	return others
}

// findUsers compares names exactly. Users without a desktop are looked for among the users of
// Workspace. One who is known there has none, which is a success. For the others the forms
// that people write are compared, because a misspelled name leaves a leaver with access.
func (f *finder) findUsers(ctx context.Context, rows []record.Row, op record.Operation, out map[string]record.RowFind) error {
	if len(rows) == 0 {
		return nil
	}
	asked := time.Now()
	listed, refusals, err := f.listEach(ctx, readUsers, namesOf(rows), f.api.DesktopsOf)
	if err != nil {
		return err
	}
	without := f.withDesktops(f.withoutRefused(rows, refusals, out), listed, out)
	if len(without) == 0 {
		return nil
	}
	people, refusal, err := f.directory.read(ctx, f, asked.Add(-directoryAge))
	if err != nil {
		return err
	}
	// The cloud's filter may need a name as the cloud spells it, and its counts may be a
	// moment old.
	if spelled := spellings(without, people); len(spelled) > 0 {
		more, refusals, err := f.listEach(ctx, readUsers, spelled, f.api.DesktopsOf)
		if err != nil {
			return err
		}
		listed = append(listed, more...)
		without = f.withDesktops(f.withoutRefused(without, refusals, out), more, out)
		if people, refusal, err = f.directory.read(ctx, f, asked); err != nil {
			return err
		}
	}
	for _, d := range listed {
		for _, u := range d.Users {
			if !policy.IsGroup(u) {
				people = append(people, apiclient.Person{Name: u.Name, ID: u.ID, Domain: u.Domain})
			}
		}
	}
	for _, row := range without {
		out[row.ID] = f.withoutDesktop(row, people, refusal, op)
	}
	return nil
}

// withDesktops settles the rows of users whose desktops are listed, and returns the others.
func (f *finder) withDesktops(rows []record.Row, listed []apiclient.Desktop, out map[string]record.RowFind) (without []record.Row) {
	for _, row := range rows {
		name, _ := row.User()
		isUser := func(u apiclient.User) bool { return !policy.IsGroup(u) && policy.SameName(u.Name, name) }
		ids := idsWhere(listed, func(d apiclient.Desktop) bool { return slices.ContainsFunc(d.Users, isUser) })
		if len(ids) == 0 {
			without = append(without, row)
			continue
		}
		out[row.ID] = record.RowFind{To: tasks.StateExpanded, Desktops: ids, Detail: counted(len(ids))}
	}
	return without
}

// spellings returns the names, as the cloud has them, of users that rows spell differently or
// that have desktops by the cloud's count; at most 100.
func spellings(rows []record.Row, people []apiclient.Person) (out []string) {
	for _, row := range rows {
		name, _ := row.User()
		for _, p := range people {
			worthAsking := policy.SameName(p.Name, name) && (p.Name != name || p.Desktops > 0)
			if worthAsking && len(out) < apiclient.MaxDesktopsPerCall && !slices.Contains(out, p.Name) {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// withoutDesktop returns what to do about a user that no desktop lists.
func (f *finder) withoutDesktop(row record.Row, people []apiclient.Person, refusal error, op record.Operation) record.RowFind {
	name, _ := row.User()
	known, desktops := false, 0
	for _, p := range people {
		if policy.SameName(p.Name, name) {
			known, desktops = true, max(desktops, p.Desktops)
		}
	}
	if known && desktops > 0 {
		return hold(tasks.CodeUserDesktops, "Workspace counts %s of user %q in project %s, and lists none: access may come through a group",
			counted(desktops), name, f.alias)
	}
	if known {
		return record.RowFind{To: tasks.StateNoDesktop, Detail: "known to Workspace, without a desktop"}
	}
	if near := nearPeople(name, people); len(near) > 0 {
		return hold(tasks.CodeUserName, "no user is named %q in project %s, but there is %s: use the name that the cloud has",
			name, f.alias, strings.Join(near, ", "))
	}
	if refusal != nil {
		return hold(tasks.CodeUserUnknown, "no desktop in project %s has a user %q, and whether Workspace knows one could not be read: %v",
			f.alias, name, refusal)
	}
	if cmp.Or(op.UnknownUsers, f.unknown) == tasks.IgnoreUnknown {
		return record.RowFind{To: tasks.StateNoDesktop, Note: tasks.NoteUnknownUser}
	}
	return hold(tasks.CodeUserUnknown,
		"Workspace knows no user %q in project %s, nor any with a name like it: correct the name, or ignore unknown users",
		name, f.alias)
}

func hold(code, format string, args ...any) record.RowFind {
	return record.RowFind{To: tasks.StateHeld, Failure: &tasks.Failure{
		Code: code, Class: tasks.ClassHeld, At: time.Now(), Message: fmt.Sprintf(format, args...),
	}}
}

// findComputers compares names exactly. Those that are not found are looked for once more, in
// the forms that people write.
func (f *finder) findComputers(ctx context.Context, rows []record.Row, out map[string]record.RowFind) error {
	if len(rows) == 0 {
		return nil
	}
	listed, refusals, err := f.listEach(ctx, readComputers, namesOf(rows), f.api.DesktopsNamed)
	if err != nil {
		return err
	}
	var forms []string
	for _, row := range rows {
		name, _ := row.Computer()
		if len(named(listed, name)) == 0 {
			for _, form := range computerForms(name) {
				if form != name && !slices.Contains(forms, form) {
					forms = append(forms, form)
				}
			}
		}
	}
	near := listed
	for some := range slices.Chunk(forms, apiclient.MaxDesktopsPerCall) {
		more, _, err := f.listEach(ctx, readComputers, some, f.api.DesktopsNamed)
		if err != nil {
			return err
		}
		near = append(near, more...) // a form that is refused has no similar names
	}
	for _, row := range rows {
		name, _ := row.Computer()
		switch ids := named(listed, name); len(ids) {
		case 1:
			out[row.ID] = record.RowFind{To: tasks.StateExpanded, Desktops: ids, Detail: "desktop " + ids[0]}
		case 0:
			held := hold(tasks.CodeComputerName, "no desktop in project %s has the computer name %q", f.alias, name)
			if refusal, is := refusals[name]; is {
				held = hold(tasks.CodeComputerName, "the cloud does not look for a computer %q in project %s: %v", name, f.alias, refusal)
			}
			if like := nearComputers(name, near); len(like) > 0 {
				held.Failure.Message += ", but there is " + strings.Join(like, ", ") + ": use the name that the cloud has"
			}
			out[row.ID] = held
		default:
			out[row.ID] = hold(tasks.CodeComputerName, "%d desktops in project %s have the computer name %q: use the id of the right one: %s",
				len(ids), f.alias, name, strings.Join(ids[:min(5, len(ids))], ", "))
		}
	}
	return nil
}

// named returns the ids of the desktops with exactly this computer name.
func named(listed []apiclient.Desktop, name string) []string {
	return idsWhere(listed, func(d apiclient.Desktop) bool { return policy.SameName(d.ComputerName, name) })
}

// idsWhere returns the ids of the desktops that match, each once.
func idsWhere(listed []apiclient.Desktop, match func(apiclient.Desktop) bool) (ids []string) {
	for _, d := range listed {
		if match(d) && !slices.Contains(ids, d.ID) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

func namesOf(rows []record.Row) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		_, out[i], _ = strings.Cut(row.ID, ":")
	}
	return out
}

func counted(desktops int) string {
	if desktops == 1 {
		return "1 desktop"
	}
	return fmt.Sprintf("%d desktops", desktops)
}

// refused reports whether an error is an answer that a retry would not change.
func refused(err error) bool {
	e := asAPIError(err)
	switch e.Status {
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusProxyAuthRequired:
		return false
	}
	return e.Status >= 400 && e.Status < 500
}
