package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// The inbox lists the desktops that a person still has to deal with: failed or on hold,
// by project, desktop and users. A desktop and its users have one entry, the latest
// failure, however many operations failed for them. An entry leaves the inbox when any
// operation confirms the desktop detached from everybody, or at least from those users;
// an entry of an undo, when the undo gives the desktop back;
// when its row is retried, cancelled or dismissed; and when its operation expires. The
// rows of operations do not change by that.
//
// The entries of a desktop are a field of one hash for each project. Each entry is also
// in two sorted sets of its class and code, from which lists are read. A row and its entry
// are in different slots of a Redis Cluster, so no step can write both:
//
//  1. the failure is announced: kept beside the inbox, and neither listed nor counted;
//  2. the row is written;
//  3. the failure is confirmed: it becomes the entry, if it is still announced.
//
// A detached desktop also removes announced failures, so the order of the two does not
// matter. When an operation ends, settleInbox settles what a crash left announced, or
// left in the inbox of a detached desktop.

// inboxEntry is a line of JSON in the inbox. Users are sorted.
type inboxEntry struct {
	Operation string      `json:"o,omitempty"`
	Source    string      `json:"s,omitempty"` // who requested the operation
	Users     []string    `json:"u,omitempty"` // none: any user of the desktop
	Class     tasks.Class `json:"k,omitempty"`
	Code      string      `json:"c,omitempty"`
	At        int64       `json:"t,omitempty"` // ms
	All       bool        `json:"all,omitempty"`
	Undo      bool        `json:"b,omitempty"` // of an undo: the desktop was not given back to the users
}

// These change a desktop's entries.
const (
	announce = "announce"
	confirm  = "confirm" // the announced one of that operation and time
	drop     = "drop"    // the announced one of that operation and time
	leave    = "leave"   // remove those of the operation; with a time, only of that time
	proven   = "proven"  // remove those of the users, or all; with a time, only up to that time
)

var scriptInbox = script("inbox")

// usersOf returns the users to detach from a row's desktop: the key of its inbox entry.
func usersOf(d Row) []string {
	out := slices.Clone(d.Expected())
	slices.Sort(out)
	return slices.Compact(out)
}

// entryOf returns the entry of a row's failure.
func entryOf(op Operation, d Row, f tasks.Failure) inboxEntry {
	return inboxEntry{
		Operation: op.ID, Source: op.RequestedBy, Users: usersOf(d), Class: f.Class, Code: f.Code, At: f.At.UnixMilli(), Undo: op.UndoOf != "",
	}
}

// confirmationOf returns the users from whom a finished row confirms its desktop detached.
// Only a reading without users, or without the desktop, confirms it for everybody.
func confirmationOf(op string, d Row) inboxEntry {
	users := usersOf(d)
	return inboxEntry{Operation: op, Users: users, All: len(users) == 0 || d.Note == tasks.NoteGone || d.Note == tasks.NoteReadBack}
}

// inboxWrites are changes of inboxes, by project.
type inboxWrites map[string][]inboxWrite

type inboxWrite struct {
	verb, desktop string
	entry         inboxEntry
}

func (w inboxWrites) add(project, verb, desktop string, e inboxEntry) {
	w[project] = append(w[project], inboxWrite{verb, desktop, e})
}

// inboxBatch is how many changes one script makes, in about a millisecond.
const inboxBatch = 200

// writeInbox makes changes in one round trip. done says whether each changed anything.
func (r *Record) writeInbox(ctx context.Context, writes inboxWrites, also func(redis.Pipeliner)) (done map[string]string, err error) {
	if len(writes) == 0 {
		return nil, nil
	}
	var calls []*scriptCall
	var of []string
	for project, all := range writes {
		for batch := range slices.Chunk(all, inboxBatch) {
			args := make([]any, 0, 2+3*len(batch))
			args = append(args, r.keys.failureSets(project), r.keys.failureSetsBy(project))
			for _, w := range batch {
				args = append(args, w.verb, w.desktop, mustJSON(w.entry))
			}
			calls = append(calls, &scriptCall{script: scriptInbox, keys: r.keys.inboxes(project), args: args})
			of = append(of, project)
		}
	}
	if err := r.runScripts(ctx, calls, also); err != nil {
		return nil, fmt.Errorf("writing the inbox: %w", err)
	}
	done = make(map[string]string, len(writes))
	for i, c := range calls {
		bits, err := c.reply.Text()
		if err != nil {
			return nil, fmt.Errorf("writing the inbox: %w", err)
		}
		done[of[i]] += bits
	}
	return done, nil
}

// inboxReads is how many desktops are read at once.
const inboxReads = 2000

// withEntries omits changes of desktops without an entry: nearly all detached desktops
// have none, and reading many at once is much cheaper than a script.
func (r *Record) withEntries(ctx context.Context, writes inboxWrites) (inboxWrites, error) {
	out := inboxWrites{}
	for project, all := range writes {
		for some := range slices.Chunk(all, inboxReads) {
			ids := make([]string, len(some))
			for i, w := range some {
				ids[i] = w.desktop
			}
			var have [2]*redis.SliceCmd
			_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				for n, key := range r.keys.inboxes(project) {
					have[n] = p.HMGet(ctx, key, ids...)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("reading the inbox: %w", err)
			}
			for i, w := range some {
				if have[0].Val()[i] != nil || have[1].Val()[i] != nil {
					out[project] = append(out[project], w)
				}
			}
		}
	}
	return out, nil
}

// announceFailures is the step before changes are written.
func (r *Record) announceFailures(ctx context.Context, changes []Change) error {
	failed := inboxWrites{}
	groups := map[string]bool{}
	for _, ch := range changes {
		for _, m := range ch.Moves {
			if (m.To == tasks.StateFailed || m.To == tasks.StateHeld) && m.Failure != nil {
				failed.add(ch.Operation.Project, announce, m.Desktop.ID, entryOf(ch.Operation, m.Desktop, *m.Failure))
				groups[groupOf(ch.Operation.Project, *m.Failure).String()] = true
			}
		}
	}
	_, err := r.writeInbox(ctx, failed, func(p redis.Pipeliner) {
		for g := range groups {
			p.SAdd(ctx, r.keys.failureGroups(), g)
		}
	})
	return err
}

// mayLeave reports whether a move removes inbox entries of its row or of its desktop.
func (m Move) mayLeave() bool {
	switch m.To {
	case tasks.StateDetached, tasks.StateExpanded, tasks.StateNoDesktop, tasks.StateCancelled:
		return true
	}
	return m.Desktop.State == tasks.StateFailed || m.Desktop.State == tasks.StateHeld
}

// inboxesIn asks, within a pipeline, which projects have inbox entries that changes may
// remove, so that success without failures costs nothing more.
func (r *Record) inboxesIn(ctx context.Context, p redis.Pipeliner, changes []Change) map[string]*redis.IntCmd {
	out := map[string]*redis.IntCmd{}
	for _, ch := range changes {
		project := ch.Operation.Project
		if out[project] == nil && slices.ContainsFunc(ch.Moves, Move.mayLeave) {
			out[project] = p.Exists(ctx, r.keys.inboxes(project)...)
		}
	}
	return out
}

// settleFailures is the step after changes were written.
func (r *Record) settleFailures(ctx context.Context, changes []Change, applied []Applied, some map[string]*redis.IntCmd) error {
	failed, ended := inboxWrites{}, inboxWrites{}
	for i, ch := range changes {
		project := ch.Operation.Project
		for n, m := range ch.Moves {
			after := applied[i].Desktops[n]
			switch {
			case after.ID == "":
			case (m.To == tasks.StateFailed || m.To == tasks.StateHeld) && m.Failure != nil:
				failed.add(project, confirm, after.ID, entryOf(ch.Operation, m.Desktop, *m.Failure))
			case !m.mayLeave() || some[project] == nil || some[project].Val() == 0:
			default:
				ended.addEnd(ch.Operation, after, m.Desktop.Failure)
			}
		}
	}
	writes, err := r.withEntries(ctx, ended)
	if err != nil {
		return err
	}
	for project, all := range failed {
		writes[project] = append(writes[project], all...)
	}
	_, err = r.writeInbox(ctx, writes, nil)
	return err
}

// addEnd removes the entries that a row's new state settles: those of failure was, or of
// any if it is nil, unless the desktop is confirmed detached.
func (w inboxWrites) addEnd(op Operation, d Row, was *tasks.Failure) {
	switch {
	case op.UndoOf != "" && d.State == tasks.StateDetached: // it proves nothing about a detach that failed
		w.add(op.Project, leave, d.ID, inboxEntry{Operation: op.ID})
	case d.State == tasks.StateDetached, d.State == tasks.StateExpanded, d.State == tasks.StateNoDesktop:
		w.add(op.Project, proven, d.ID, confirmationOf(op.ID, d))
	default:
		e := inboxEntry{Operation: op.ID}
		if was != nil {
			e.At = was.At.UnixMilli()
		}
		w.add(op.Project, leave, d.ID, e)
	}
}

// settleInbox catches up on operations that have ended, after a crash: it confirms or
// drops announced failures, and the settler removes the entries of detached desktops.
// Harmless to repeat.
func (r *Record) settleInbox(ctx context.Context, ops []Operation) (*inboxSettler, error) {
	announced, some := map[string]*redis.MapStringStringCmd{}, map[string]*redis.IntCmd{}
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, op := range ops {
			if announced[op.Project] == nil {
				announced[op.Project] = p.HGetAll(ctx, r.keys.announced(op.Project))
				some[op.Project] = p.Exists(ctx, r.keys.inbox(op.Project))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("settling the inbox: %w", err)
	}
	for project, all := range announced {
		if err := r.settleAnnounced(ctx, project, all.Val()); err != nil {
			return nil, err
		}
	}
	return &inboxSettler{record: r, some: some, writes: inboxWrites{}}, nil
}

// inboxSettler goes through the evidence of operations.
type inboxSettler struct {
	record *Record
	some   map[string]*redis.IntCmd // by project, whether its inbox has anything
	writes inboxWrites
	n      int
}

func (s *inboxSettler) add(ctx context.Context, op Operation, e Evidence) error {
	if s.some[op.Project].Val() == 0 {
		return nil
	}
	for _, d := range e.Desktops {
		switch {
		case op.UndoOf != "" && d.State == tasks.StateDetached:
			s.writes.add(op.Project, leave, d.ID, inboxEntry{Operation: op.ID})
		case d.State == tasks.StateDetached, d.State == tasks.StateExpanded, d.State == tasks.StateNoDesktop:
			e := confirmationOf(op.ID, d)
			e.At = d.UpdatedAt.UnixMilli() // later failures stay
			s.writes.add(op.Project, proven, d.ID, e)
		case d.State == tasks.StateCancelled:
			s.writes.add(op.Project, leave, d.ID, inboxEntry{Operation: op.ID})
		}
	}
	if s.n += len(e.Desktops); s.n < inboxReads {
		return nil
	}
	return s.flush(ctx)
}

func (s *inboxSettler) flush(ctx context.Context) error {
	writes, err := s.record.withEntries(ctx, s.writes)
	if err != nil {
		return err
	}
	s.writes, s.n = inboxWrites{}, 0
	_, err = s.record.writeInbox(ctx, writes, nil)
	return err
}

func (r *Record) settleAnnounced(ctx context.Context, project string, all map[string]string) error {
	type pending struct {
		desktop string
		entry   inboxEntry
	}
	byOp := map[string][]pending{}
	var ids []string
	for desktop, lines := range all {
		for line := range strings.SplitSeq(lines, "\n") {
			var e inboxEntry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return fmt.Errorf("the inbox of project %s has an unreadable entry %.60q", project, line)
			}
			if byOp[e.Operation] == nil {
				ids = append(ids, e.Operation)
			}
			byOp[e.Operation] = append(byOp[e.Operation], pending{desktop, e})
		}
	}
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return err
	}
	writes := inboxWrites{}
	for _, op := range ops {
		if !op.Done() {
			delete(byOp, op.ID) // its worker may be about to confirm it
			continue
		}
		refs := make([]tasks.DesktopRef, len(byOp[op.ID]))
		for i, x := range byOp[op.ID] {
			refs[i] = tasks.DesktopRef{OperationID: op.ID, DesktopID: x.desktop}
		}
		failed, err := r.failuresNamed(ctx, refs)
		if err != nil {
			return err
		}
		for _, x := range byOp[op.ID] {
			if slices.ContainsFunc(failed, func(f tasks.Failure) bool { return f.DesktopID == x.desktop && f.At.UnixMilli() == x.entry.At }) {
				writes.add(project, confirm, x.desktop, x.entry)
			} else {
				writes.add(project, drop, x.desktop, x.entry)
			}
		}
		delete(byOp, op.ID)
	}
	for id, left := range byOp {
		if !slices.ContainsFunc(ops, func(op Operation) bool { return op.ID == id }) { // it expired
			for _, x := range left {
				writes.add(project, drop, x.desktop, x.entry)
			}
		}
	}
	_, err = r.writeInbox(ctx, writes, nil)
	return err
}

// inInbox returns the failures that are in the inbox.
func (r *Record) inInbox(ctx context.Context, all []tasks.Failure) ([]tasks.Failure, error) {
	if len(all) == 0 {
		return nil, nil
	}
	var groups []failureGroup
	byGroup := map[failureGroup][]int{}
	for i, f := range all {
		g := groupOf(f.Project, f)
		if byGroup[g] == nil {
			groups = append(groups, g)
		}
		byGroup[g] = append(byGroup[g], i)
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, g := range groups {
			members := make([]string, len(byGroup[g]))
			for n, i := range byGroup[g] {
				members[n] = failureMember(all[i].OperationID, all[i].DesktopID)
			}
			p.ZMScore(ctx, r.keys.failures(g), members...)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading failures: %w", err)
	}
	in := make([]bool, len(all))
	for n, g := range groups {
		for m, score := range cmds[n].(*redis.FloatSliceCmd).Val() {
			in[byGroup[g][m]] = score != 0 // a time; the client returns 0 for a missing member
		}
	}
	var out []tasks.Failure
	for i, f := range all {
		if in[i] {
			out = append(out, f)
		}
	}
	return out, nil
}
