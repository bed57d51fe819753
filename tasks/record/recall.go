package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

// A recall takes one person back out of operations. Two things make sure that no call follows:
//
//  1. it is kept, with all others, in one HASH. Workers compare the users of each desktop with it
//     after the reading, and cancel what is recalled. begin reads which recall is the latest: if
//     it is not the one that the desktops were compared with, no call leaves, and they are
//     compared again;
//  2. then the rows that the index of names has for the user are cancelled, by compare-and-set.
//
// So a row that is in a call, is found by a look-up later, or is missing in the index, is
// cancelled by the first; and a row that was cancelled by the second was in no call.

// storedRecall is a recall in Redis.
type storedRecall struct {
	tasks.Recall
	Fingerprint string `json:"fp"`
}

// recallKind is for ids only: a recall is carried out at once.
var recallKind = bulkKind{name: "recall"}

// maxRecallRows limits the rows that an answer lists.
const maxRecallRows = 1000

// Recalls are the recalls in force.
type Recalls struct {
	latest string // id of the latest one
	by     map[string][]tasks.Recall
}

// Current reports whether these are the recalls in force when changes were written.
func (x *Recalls) Current(r Renewed) bool { return x.latest == r.recall }

// Of returns the recall that a row is about. others are to lose the desktop too, and are not
// recalled.
func (x *Recalls) Of(op Operation, d Row) (found tasks.Recall, others []string, is bool) {
	for _, name := range d.people() {
		all := x.by[norm.NFC.String(name)]
		i := slices.IndexFunc(all, func(recall tasks.Recall) bool { return recall.Covers(op.Operation) })
		if i < 0 {
			others = append(others, name)
		} else if !is {
			found, is = all[i], true
		}
	}
	return found, others, is
}

// recalls are the recalls as this process last read them.
type recalls struct {
	mu    sync.Mutex
	known *Recalls
}

// Recalls returns the recalls as this process knows them; see Recalls.Current.
func (r *Record) Recalls(ctx context.Context) (*Recalls, error) {
	c := &r.recalls
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	known, err := r.readRecalls(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.known = known
	c.mu.Unlock()
	return known, nil
}

func (r *Record) readRecalls(ctx context.Context) (*Recalls, error) {
	all, latest, err := r.storedRecalls(ctx)
	if err != nil {
		return nil, err
	}
	out := &Recalls{latest: latest, by: map[string][]tasks.Recall{}}
	for _, x := range all {
		out.by[x.User] = append(out.by[x.User], x.Recall)
	}
	return out, nil
}

// storedRecalls reads all recalls, the latest first.
func (r *Record) storedRecalls(ctx context.Context) (all []storedRecall, latest string, err error) {
	stored, err := r.rdb.HGetAll(ctx, r.keys.recalls()).Result()
	if err != nil {
		return nil, "", fmt.Errorf("reading the recalls: %w", err)
	}
	for id, text := range stored {
		if id == "" {
			latest = text
			continue
		}
		var x storedRecall
		if decodeJSON(text, &x) != nil || x.ID != id || x.User == "" {
			return nil, "", fmt.Errorf("the recall %s cannot be read, so whom it is about is not known, and nothing is sent: "+
				"use a version that knows it", id)
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b storedRecall) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	})
	return all, latest, nil
}

// latestRecall is the call that reads which recall is the latest.
func (r *Record) latestRecall() *scriptCall {
	return &scriptCall{args: []any{"HMGET", r.keys.recalls(), ""}, reads: true} // HGET would be an error if there is none
}

// noteRecall notes the reply of latestRecall: if another recall is the latest, the known ones are
// read again.
func (r *Record) noteRecall(reply *redis.Cmd) (latest string, err error) {
	v, err := reply.Slice()
	if err != nil || len(v) != 1 {
		return "", fmt.Errorf("reading the latest recall: unexpected reply %v: %w", v, err)
	}
	latest, _ = v[0].(string)
	c := &r.recalls
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known != nil && c.known.latest != latest {
		c.known = nil
	}
	return latest, nil
}

// Recall reads a recall; ErrNoRecall if there is none.
func (r *Record) Recall(ctx context.Context, id string) (tasks.Recall, error) {
	x, err := r.recall(ctx, id)
	return x.Recall, err
}

func (r *Record) recall(ctx context.Context, id string) (x storedRecall, err error) {
	text, err := r.rdb.HGet(ctx, r.keys.recalls(), id).Result()
	if errors.Is(err, redis.Nil) || err == nil && id == "" {
		return x, tasks.ErrNoRecall
	}
	if err == nil {
		err = decodeJSON(text, &x)
	}
	if err != nil {
		return x, fmt.Errorf("reading recall %s: %w", id, err)
	}
	return x, nil
}

// ListRecalls lists recalls, the latest first, at most size of them (default 100). An empty
// next means that there are no more.
func (r *Record) ListRecalls(ctx context.Context, size int, token string) (out []tasks.Recall, next string, err error) {
	from, size, err := pageOf(size, token)
	if err != nil {
		return nil, "", err
	}
	all, _, err := r.storedRecalls(ctx)
	if err != nil {
		return nil, "", err
	}
	for i := from; i < min(from+size, len(all)); i++ {
		out = append(out, all[i].Recall)
	}
	if from+size < len(all) {
		next = fmt.Sprint(from + size)
	}
	return out, next, nil
}

// CountRecalls is the number of recalls.
func (r *Record) CountRecalls(ctx context.Context) (int, error) {
	n, err := r.rdb.HLen(ctx, r.keys.recalls()).Result()
	if err != nil {
		return 0, fmt.Errorf("counting the recalls: %w", err)
	}
	return max(0, int(n)-1), nil // one field names the latest
}

var scriptRecall = script("recall")

// Recall keeps a recall and carries it out. Repeating it with its idempotency key carries out
// the same one again, whatever became of the first try. Errors: *ValidationError, ErrKeyReused,
// ErrTooManyRecalls, those of Redis. before is called with a new recall, before it exists; its
// error is returned. replayed reports that it existed.
func (p *Producer) Recall(
	ctx context.Context, q tasks.RecallRequest, before ...func(tasks.Recall) error,
) (out tasks.RecallResult, replayed bool, err error) {
	r := p.Record
	if err := q.Validate(); err != nil {
		return out, false, err
	}
	q = q.Canonical()
	now := time.UnixMilli(p.now().UnixMilli()).UTC()
	id := bulkID(recallKind, q.RequestedBy, q.IdempotencyKey, now)
	q.IdempotencyKey = ""
	x := storedRecall{tasks.Recall{
		ID: id, User: q.User, Source: q.Source, Ticket: q.Ticket, Project: q.Project, Projects: q.Projects,
		RequestedBy: q.RequestedBy, Reason: q.Reason, CreatedAt: now,
	}, fingerprintOf(q)}
	known, err := r.recall(ctx, id)
	switch {
	case err == nil:
		replayed = true
	case !errors.Is(err, tasks.ErrNoRecall):
		return out, false, err
	default:
		for _, f := range before {
			if err := f(x.Recall); err != nil {
				return out, false, err
			}
		}
	}
	// Also if it is known: its first try may have died before replicas had it.
	keep := &scriptCall{script: scriptRecall, keys: []string{r.keys.recalls()}, args: []any{id, mustJSON(x), tasks.MaxRecalls}}
	if _, err := r.durably(ctx, []*scriptCall{keep}, nil); err != nil {
		return out, replayed, fmt.Errorf("keeping the recall: %w", err)
	}
	text, err := keep.reply.Text()
	if err == nil && text == "" {
		return out, replayed, fmt.Errorf("nothing was recalled: %w", tasks.ErrTooManyRecalls)
	}
	if err == nil {
		err = decodeJSON(text, &known)
	}
	switch {
	case err != nil:
		return out, replayed, fmt.Errorf("keeping the recall: %w", err)
	case known.Fingerprint != x.Fingerprint:
		return out, replayed, tasks.ErrKeyReused
	}
	if err := p.carryOut(ctx, known.Recall); err != nil {
		return out, replayed, fmt.Errorf("recall %s is kept, and workers act on it; the answer is not complete: %w", id, err)
	}
	out, err = r.RecallResult(ctx, known.Recall)
	return out, replayed, err
}

// carryOut cancels what is not sent of the rows that the index has for the person. A row that
// moves at the same time is looked at again: it may come back from a call.
func (p *Producer) carryOut(ctx context.Context, x tasks.Recall) error {
	r := p.Record
	all, err := r.readRecalls(ctx)
	if err != nil {
		return err
	}
	touched := map[string]bool{}
	for range 3 {
		left := false
		err := r.eachOfUser(ctx, x.User, func(rows []opRow) error {
			rows = slices.DeleteFunc(rows, func(row opRow) bool {
				is, _ := x.Of(row.Desktop)
				is = is && x.Covers(row.op.Operation)
				if is && !row.op.Sealed() { // also if a first try died before it was closed
					touched[row.op.ID] = true
				}
				return !is || !row.State.CanMove(tasks.StateCancelled)
			})
			for some := range slices.Chunk(rows, cancelChunks) {
				moved, err := p.recallRows(ctx, all, some)
				if err != nil {
					return err
				}
				left = left || moved < len(some)
			}
			for _, row := range rows {
				touched[row.op.ID] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !left {
			break
		}
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(touched)), 100) {
		if _, err := r.Finish(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// recallRows cancels queued and held rows of the person, or puts them on hold if others are to
// lose the desktop too. It returns how many are as wanted.
func (p *Producer) recallRows(ctx context.Context, all *Recalls, rows []opRow) (moved int, err error) {
	r, now := p.Record, p.now()
	var changes []Change
	at := map[chunkID]int{}
	for _, row := range rows {
		recall, others, is := all.Of(row.op, row.Row)
		if !is || len(others) > 0 && row.State == tasks.StateHeld {
			moved++ // it stays on hold
			continue
		}
		place := chunkID{row.op.ID, row.Chunk}
		i, known := at[place]
		if !known {
			if row.op.Done() {
				// Cancelling what is on hold removes the seal.
				if err := r.list(ctx, row.op, now); errors.Is(err, tasks.ErrNotFound) {
					moved++ // it is being removed: nothing of it is sent
					continue
				} else if err != nil {
					return moved, err
				}
			}
			i, at[place] = len(changes), len(changes)
			changes = append(changes, Change{Operation: row.op, Chunk: row.Chunk, By: recall.By()})
		}
		changes[i].Moves = append(changes[i].Moves, recallMove(row.Row, recall, others, now))
	}
	if len(changes) == 0 {
		return moved, nil
	}
	done, err := r.apply(ctx, now, changes, nil, nil)
	tallies := map[string]int{}
	for i, a := range done {
		for n, d := range a.Desktops {
			if d.ID == "" {
				continue
			}
			moved++
			if changes[i].Moves[n].To == tasks.StateCancelled {
				tallies[changes[i].Operation.Project]++
			}
		}
	}
	r.addCancelled(ctx, now, tallies)
	return moved, err
}

// recallMove is what becomes of a queued or held row that a recall is about.
func recallMove(d Row, x tasks.Recall, others []string, now time.Time) Move {
	m := Move{Desktop: d, To: tasks.StateCancelled, Attempts: d.Attempts, CallID: d.CallID, Note: tasks.NoteRecalled, Detail: x.Reason}
	if len(others) > 0 {
		m.To, m.Note, m.Detail = tasks.StateHeld, tasks.NoteNone, ""
		m.Failure = &tasks.Failure{
			Code: tasks.CodeRecalled, Class: tasks.ClassHeld, Message: x.HeldText(others), Attempts: d.Attempts, CallID: d.CallID, At: now,
		}
	}
	return m
}

// eachOfUser reads the rows of all chunks that the index of names has for a user, in any case,
// the latest operation first.
func (r *Record) eachOfUser(ctx context.Context, user string, f func([]opRow) error) error {
	found, err := r.find(ctx, r.keys.named, foldName(user))
	if err != nil {
		return err
	}
	for some := range slices.Chunk(chunksFrom(found[0], chunkPlace{}, math.MaxInt), pageChunks) {
		rows, err := r.rowsOf(ctx, some)
		if err != nil {
			return err
		}
		if err := f(rows); err != nil {
			return err
		}
	}
	return nil
}

// RecallResult reads what became of the rows that a recall is about.
func (r *Record) RecallResult(ctx context.Context, x tasks.Recall) (tasks.RecallResult, error) {
	out := tasks.RecallResult{Recall: x, Rows: []tasks.RecalledRow{}, Undo: []tasks.RecallUndo{}}
	undo := map[string]int{} // operation -> place in Undo
	other := map[string]bool{}
	err := r.eachOfUser(ctx, x.User, func(rows []opRow) error {
		for len(rows) > 0 {
			n := slices.IndexFunc(rows, func(row opRow) bool { return row.op.ID != rows[0].op.ID })
			if n < 0 {
				n = len(rows)
			}
			if err := r.addRecalled(ctx, &out, rows[:n], undo, other); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
	out.OtherSpellings = slices.Sorted(maps.Keys(other))
	return out, err
}

// addRecalled adds rows of one operation to a result.
func (r *Record) addRecalled(
	ctx context.Context, out *tasks.RecallResult, rows []opRow, undo map[string]int, spellings map[string]bool,
) error {
	x, op := out.Recall, rows[0].op
	later := x.AcceptedLater(op.Operation)
	if !later && !x.Covers(op.Operation) {
		return nil
	}
	var theirs []Row
	for _, row := range rows {
		is, _ := x.Of(row.Desktop)
		for _, name := range row.people() {
			if foldName(name) == foldName(x.User) && norm.NFC.String(name) != x.User {
				spellings[name] = true
			}
		}
		switch {
		case !is || row.State == tasks.StateExpanded: // its desktops have rows of their own
		case later:
			out.AcceptedLater++
		default:
			theirs = append(theirs, row.Row)
		}
	}
	if err := r.addGivenBack(ctx, op, theirs); err != nil {
		return err
	}
	for _, d := range theirs {
		_, others := x.Of(d.Desktop)
		outcome := tasks.RecallOutcomeOf(d.Desktop)
		out.Counts.Add(outcome)
		if len(out.Rows) == maxRecallRows {
			out.More = true
			continue
		}
		out.Rows = append(out.Rows, tasks.RecalledRow{
			OperationID: op.ID, Project: op.Project, RequestedBy: op.RequestedBy, ID: d.ID, State: d.State, Outcome: outcome, Others: others,
			GivenBackBy: d.GivenBackBy,
		})
		if outcome != tasks.RecallTooLate || len(others) > 0 { // an undo would give it back to them too
			continue
		}
		i, known := undo[op.ID]
		if !known {
			i, undo[op.ID] = len(out.Undo), len(out.Undo)
			out.Undo = append(out.Undo, tasks.RecallUndo{})
		}
		out.Undo[i] = tasks.NewRecallUndo(x, op.ID, op.Project, append(out.Undo[i].Desktops, d.ID))
	}
	return nil
}

// people are the users that a row names.
func (d Row) people() []string {
	if name, named := d.User(); named {
		return []string{name}
	}
	return d.Expected()
}

// expireRecalls removes recalls of which every operation has expired.
func (r *Record) expireRecalls(ctx context.Context, now time.Time) error {
	n, err := r.rdb.HLen(ctx, r.keys.recalls()).Result()
	if err != nil || n == 0 {
		return err
	}
	oldest, err := r.rdb.ZRangeWithScores(ctx, r.keys.operations(), 0, 0).Result()
	if err != nil {
		return err
	}
	until := now.Add(-r.retention)
	if len(oldest) > 0 {
		if at := time.UnixMilli(int64(oldest[0].Score)); at.Before(until) {
			until = at
		}
	}
	all, _, err := r.storedRecalls(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.CreatedAt.Before(until) {
			if err := r.rdb.HDel(ctx, r.keys.recalls(), x.ID).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
