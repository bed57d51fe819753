package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// mistake says how an operation is undone.
type mistake struct {
	some  bool // a few of its desktops
	early bool // as soon as the cloud took one of them
	twice bool // by two people at the same time

	askedAt time.Time
}

// drawMistake draws how operation n is undone, if it is.
func drawMistake(r *rand.Rand, n int) (mistake, bool) {
	return mistake{some: r.IntN(4) == 0, early: r.IntN(3) == 0, twice: r.IntN(3) == 0}, n%2 == 0
}

// undo undoes an operation once the cloud took something of it.
func (e *env) undo(ctx context.Context, op record.Operation, m mistake) error {
	var chosen []string
	taken := tasks.DesktopFilter{States: []tasks.State{tasks.StateAccepted, tasks.StateDetached}}
	err := drill.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		now, err := e.producer.Record.Operation(ctx, op.ID)
		if err != nil || !now.Done() && (!m.early || now.Counts.Detached+now.Counts.Accepted == 0) {
			return false, nil
		}
		rows, _, err := e.producer.Record.Desktops(ctx, now, taken, 5, "")
		for _, d := range rows {
			chosen = append(chosen, d.ID)
		}
		return err == nil, nil
	})
	if err != nil || len(chosen) == 0 {
		return err
	}
	if !m.some {
		chosen = nil
	}
	all := []string{"amy", "ben"}
	if !m.twice {
		all = all[:1]
	}
	for _, by := range all {
		m.askedAt = time.Now()
		req := tasks.UndoRequest{Desktops: chosen, RequestedBy: by, Owner: by, Reason: "chaos", IdempotencyKey: op.ID + by}
		back, err := accepted(ctx, func() (record.Operation, error) {
			now, err := e.producer.Record.Operation(ctx, op.ID)
			if err != nil {
				return now, err
			}
			return e.producer.Undo(ctx, now, req)
		})
		if err != nil {
			return fmt.Errorf("undoing operation %s: %w", op.ID, err)
		}
		e.mu.Lock()
		e.undos, e.mistakes[back.ID] = append(e.undos, back), m
		e.mu.Unlock()
	}
	return nil
}

// returns says whether an undo gives a desktop back: nobody has it after the leaver, and it is
// of no pool.
func returns(id string) bool {
	return drill.Plain.Has(id) || drill.Expected.Has(id) || drill.Found.Has(id) && !drill.FoundGivenAway.Has(id)
}

// judgeUndos compares undos with the operations that they undo, and with what the cloud knows.
// It returns by which of them each desktop was given back.
func (e *env) judgeUndos(ctx context.Context, rows map[string]record.Row) (given map[string][]string, err error) {
	v, undos := &e.verdict, map[string][]record.Operation{}
	given = map[string][]string{}
	removed := map[string]bool{}
	for _, r := range e.Cloud.Removals(drill.ProjectID) {
		removed[r.DesktopID] = true
	}
	for _, u := range e.undos {
		v.Undos++
		own := map[string]record.Row{}
		if err := e.judgeOperation(ctx, u, own); err != nil {
			return nil, err
		}
		for id, row := range own {
			undos[id] = append(undos[id], u)
			switch {
			case row.State == tasks.StateDetached && returns(id):
				given[id] = append(given[id], u.ID)
			case row.State == tasks.StateHeld && !returns(id):
				v.Kept++
			default:
				v.Unproven = append(v.Unproven, fmt.Sprintf("%s, undone: %s %+v", id, row.State, row.Failure))
			}
		}
		for id, row := range rows {
			_, has := own[id]
			m := e.mistakes[u.ID]
			if !m.some && !has && row.OperationID == u.UndoOf && removed[id] && row.UpdatedAt.Before(m.askedAt) {
				v.Lost = append(v.Lost, id+", undone")
			}
		}
	}
	v.GivenBack = len(given)
	for id, row := range rows {
		if len(given[id]) == 0 && row.GivenBackBy != "" || len(given[id]) > 0 && !slices.Contains(given[id], row.GivenBackBy) {
			v.Unproven = append(v.Unproven, fmt.Sprintf("%s: given back by %v, and called given back by %q", id, given[id], row.GivenBackBy))
		}
	}
	e.judgeAssignments(undos)
	return given, nil
}

// judgeAssignments looks at what the cloud was asked to give back, and to whom it gave it.
func (e *env) judgeAssignments(undos map[string][]record.Operation) {
	v, got := &e.verdict, map[string]bool{}
	for _, a := range e.Cloud.Assignments(drill.ProjectID) {
		if got[a.DesktopID] {
			v.GivenTwice = append(v.GivenTwice, a.DesktopID)
		}
		got[a.DesktopID] = true
		if a.Cleared {
			v.Cleared = append(v.Cleared, a.DesktopID)
		}
		if len(a.Users) != 1 || a.Users[0].Name != drill.Leaver {
			v.GivenWrong = append(v.GivenWrong, a.DesktopID)
		}
	}
	for _, r := range e.Cloud.Requests() {
		if r.Op != fakecloud.OpAttach {
			continue
		}
		v.Attaches++
		for _, id := range r.DesktopIDs {
			if !returns(id) {
				v.GivenWrong = append(v.GivenWrong, id)
			}
			if !slices.ContainsFunc(undos[id], func(u record.Operation) bool { return e.mayReturn(u, r.Time) }) {
				v.Unapproved = append(v.Unapproved, id+", undone")
			}
		}
	}
}

// mayReturn says whether the calls of an undo could begin at a time.
func (e *env) mayReturn(u record.Operation, at time.Time) bool {
	if c := u.Clearance; c != nil {
		return !at.Before(c.DecidedAt)
	}
	return u.Total <= e.undoneAlone()
}
