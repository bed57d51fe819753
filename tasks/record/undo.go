package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// Undo accepts an operation that gives desktops of op back to the users who lost them by it:
// those that op detached, or is about to confirm, or the chosen ones of them. A row of op stays
// as it is. Errors, durability and before are as of Enqueue; ErrNothingToUndo says that no
// desktop would be given back.
func (p *Producer) Undo(ctx context.Context, op Operation, req tasks.UndoRequest, before ...func(id string) error) (Operation, error) {
	if err := req.Validate(); err != nil {
		return Operation{}, err
	}
	like := req.Request(op.Project)
	c := content{fingerprint: fingerprint(like) + "/" + op.ID}
	undo := p.newOperation(like)
	undo.UndoOf = op.ID
	fp, err := p.Record.fingerprintOf(ctx, undo.ID)
	switch {
	case err == nil && fp != c.fingerprint:
		return Operation{}, fmt.Errorf("the request was not accepted: %w", tasks.ErrKeyReused)
	case err == nil:
		return p.again(ctx, undo.ID)
	case !errors.Is(err, tasks.ErrNotFound):
		return Operation{}, err
	case op.UndoOf != "":
		return Operation{}, fmt.Errorf("operation %s is an undo, submit a new request to detach: %w", op.ID, tasks.ErrNothingToUndo)
	}
	if err := p.Record.addUndone(ctx, op, req, &c); err != nil {
		return Operation{}, err
	}
	c.rows = fingerprintOf(c.desktops)
	undo.Total, undo.Counts.Queued = len(c.desktops), len(c.desktops)
	for _, f := range before {
		if err := f(undo.ID); err != nil {
			return Operation{}, err
		}
	}
	if err := p.Record.noteUndo(ctx, op, undo.ID); err != nil {
		return Operation{}, err
	}
	return p.submit(ctx, undo, c)
}

// addUndone adds the desktops to be given back, and who had them.
func (r *Record) addUndone(ctx context.Context, op Operation, req tasks.UndoRequest, c *content) error {
	chosen := map[string]bool{}
	for _, id := range req.Desktops {
		chosen[tasks.CanonicalDesktopID(id)] = true
	}
	states := map[string]tasks.State{}
	c.expect, c.had = map[string][]string{}, map[string]tasks.Before{}
	for refs := range slices.Chunk(chunkRange(0, op.Chunks()), 64) {
		places := make([]chunkID, len(refs))
		for i, n := range refs {
			places[i] = chunkID{op.ID, n}
		}
		es, err := r.evidence(ctx, places)
		if err != nil {
			return err
		}
		for _, e := range es {
			if op.LooksUp(e.Chunk) {
				continue
			}
			had := map[int]tasks.Before{}
			err := eachBefore(e.Raw, func(position int, b tasks.Before) {
				if position < len(e.Desktops) {
					if b.Users = losers(e.Desktops[position], b.Users); len(b.Users) > 0 {
						b.Tags = nil
						had[position] = b // the last one before a call
					}
				}
			})
			if err != nil {
				return fmt.Errorf("operation %s, chunk %d: %w", op.ID, e.Chunk, err)
			}
			for i, d := range e.Desktops {
				states[d.ID] = d.State
				done := d.State == tasks.StateDetached || d.State == tasks.StateAccepted
				if !done || !chosen[d.ID] && (len(chosen) > 0 || d.CallID == "") { // without a call nobody lost it by this operation
					continue
				}
				c.desktops = append(c.desktops, d.ID)
				if b, known := had[i]; known && d.CallID != "" {
					c.had[d.ID] = b
					for _, u := range b.Users {
						c.expect[d.ID] = append(c.expect[d.ID], u.Name)
					}
				}
			}
		}
	}
	if err := req.NotUndone(states); err != nil {
		return err
	}
	if len(c.desktops) == 0 {
		return fmt.Errorf("operation %s detached no desktop: %w", op.ID, tasks.ErrNothingToUndo)
	}
	return nil
}

// losers are the users of a desktop, as read before a call, who lose it by the call: the
// expected ones. A group does only if nobody was named; see policy.Look.Leavers.
func losers(d Row, users []tasks.Person) (out []tasks.Person) {
	for _, u := range users {
		is := func(name string) bool { return norm.NFC.String(name) == norm.NFC.String(u.Name) }
		if (len(d.Expect) == 0 || u.Type != "GROUP") && slices.ContainsFunc(d.Expected(), is) {
			out = append(out, u)
		}
	}
	return out
}

var scriptUndone = script("undone")

// noteUndo names an undo in its operation, before it is accepted: so no view misses it.
func (r *Record) noteUndo(ctx context.Context, op Operation, undo string) error {
	call := &scriptCall{script: scriptUndone, keys: []string{r.keys.op(op.ID)}, args: []any{undo}}
	if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
		return fmt.Errorf("the undo was not accepted: %w", err)
	}
	if n, err := call.reply.Int(); err != nil || n == 0 {
		return fmt.Errorf("operation %s: %w", op.ID, errors.Join(tasks.ErrNotFound, err))
	}
	return nil
}

func decodeUndos(stored string) []string {
	if stored == "" {
		return nil
	}
	return strings.Split(stored, ",")
}

// addGivenBack fills in Desktop.GivenBackBy of rows of an operation.
func (r *Record) addGivenBack(ctx context.Context, op Operation, rows []Row) error {
	if len(op.Undos) == 0 || len(rows) == 0 {
		return nil
	}
	at := map[string]int{}
	for i, d := range rows {
		if d.State == tasks.StateDetached || d.State == tasks.StateAccepted {
			at[d.ID] = i
		}
	}
	undos, err := r.operations(ctx, op.Undos)
	if err != nil || len(at) == 0 {
		return err
	}
	ids := make([]string, 0, len(at))
	for id := range at {
		ids = append(ids, id)
	}
	for _, undo := range undos {
		if undo.Counts.Detached == 0 {
			continue
		}
		given, err := r.RowsNamed(ctx, undo, ids)
		if err != nil {
			return err
		}
		for id, d := range given {
			if d.State == tasks.StateDetached {
				rows[at[id]].GivenBackBy = undo.ID // the latest of several
			}
		}
	}
	return nil
}
