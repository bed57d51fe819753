package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"golang.org/x/text/unicode/norm"
)

// Search finds rows of all operations by a whole desktop id, user name or computer name in
// any case, the latest first.
//
// A user who was named as a leaver or expected on the desktop is found from the acceptance on.
// A user whom the reading before the call showed is found once the operation has ended, or the
// desktop failed or is held. A computer is found if the request named it, or once the desktop
// that a reading or the cloud named so failed or is held; so a detached desktop is found by
// its id and its users, not by its computer name.
//
// Search fills in Desktop.Before. It returns at most size rows (default 100); an empty next
// means that there are no more. A page that takes too long is short, or empty, and next
// continues it.
func (r *Record) Search(ctx context.Context, text string, size int, token string) (events []HistoryEntry, next string, err error) {
	text = norm.NFC.String(tasks.CanonicalDesktopID(text))
	name := foldName(strings.TrimPrefix(strings.TrimPrefix(text, tasks.UserRow("")), tasks.ComputerRow("")))
	id := foldName(text)
	if name == "" || len(id) > 4*tasks.MaxName {
		return nil, "", nil
	}
	// Ids are searched as given, in lower case and in upper case.
	forms := []string{text, strings.ToLower(text), strings.ToUpper(text)}
	slices.Sort(forms)
	byID, err := r.find(ctx, r.keys.history, slices.Compact(forms)...)
	if err != nil {
		return nil, "", err
	}
	return r.walkNamed(ctx, name, slices.Concat(byID...), size, token, func(row rowTrail) bool {
		return foldName(row.ID) == id || row.names(name)
	})
}

// rowTrail is a row with all its readings.
type rowTrail struct {
	Row
	befores []tasks.Before
}

// names reports whether a row is about a user or a computer of this name.
func (row rowTrail) names(name string) bool {
	is := func(s string) bool { return foldName(s) == name }
	user, isUser := row.User()
	computer, isComputer := row.Computer()
	if isUser && is(user) || isComputer && is(computer) || slices.ContainsFunc(row.Expect, is) ||
		row.Failure != nil && is(row.Failure.DesktopName) {
		return true
	}
	return slices.ContainsFunc(row.befores, func(b tasks.Before) bool {
		return is(b.Name) || slices.ContainsFunc(b.Users, func(p tasks.Person) bool { return is(p.Name) })
	})
}

// failuresOfUser is Failures with the index of names.
func (r *Record) failuresOfUser(
	ctx context.Context, f tasks.FailureFilter, size int, token string,
) (out []tasks.Failure, next string, err error) {
	events, next, err := r.walkNamed(ctx, foldName(f.User), nil, size, token, func(row rowTrail) bool {
		return (row.State == tasks.StateFailed || row.State == tasks.StateHeld) && row.Failure != nil && matchesFailure(f, *row.Failure)
	})
	if err != nil {
		return nil, "", err
	}
	for _, e := range events {
		if f.Source == "" || f.Source == e.Operation.RequestedBy {
			out = append(out, *e.Desktop.Failure)
		}
	}
	out, err = r.inInbox(ctx, out)
	return out, next, err
}

// token is the page token of a row's place.
func (c chunkPlace) token(position int) string {
	return fmt.Sprintf("%x.%s.%d.%d", c.late, c.op, c.chunk, position)
}

func parseChunkToken(token string) (from chunkPlace, position int, err error) {
	f := strings.Split(token, ".")
	if len(f) != 4 {
		return from, 0, tasks.ErrPageToken
	}
	late, err1 := strconv.ParseUint(f[0], 16, 48)
	chunk, err2 := strconv.ParseUint(f[2], 10, 16)
	row, err3 := strconv.ParseUint(f[3], 10, 16)
	if errors.Join(err1, err2, err3) != nil {
		return from, 0, tasks.ErrPageToken
	}
	return chunkPlace{late, chunkID{f[1], int(chunk)}}, int(row), nil
}

// walkNamed reads the rows that keep wants, of the chunks that the index has for a name and
// of the given other ones.
func (r *Record) walkNamed(
	ctx context.Context, name string, more []indexEntry, size int, token string, keep func(rowTrail) bool,
) (out []HistoryEntry, next string, err error) {
	if size <= 0 {
		size = 100
	}
	var from chunkPlace
	position := 0
	if token != "" {
		if from, position, err = parseChunkToken(token); err != nil {
			return nil, "", err
		}
	}
	named, err := r.find(ctx, r.keys.named, name)
	if err != nil {
		return nil, "", err
	}
	places := chunksFrom(append(named[0], more...), from, pageChunks+1)
	for left := pageChunks; ; {
		n := min(left, 8)
		rows, err := r.rowsOf(ctx, places[:min(n, len(places))])
		if err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			place := placeOf(row.op, row.Chunk)
			if place == from && row.Position < position || !keep(row.rowTrail) {
				continue
			}
			if len(out) == size {
				return out, place.token(row.Position), nil
			}
			out = append(out, HistoryEntry{row.op, row.Row})
		}
		if len(places) <= n {
			return out, "", nil
		}
		places = places[n:]
		if left -= n; left == 0 {
			return out, places[0].token(0), nil
		}
	}
}

// opRow is a row and its operation.
type opRow struct {
	rowTrail
	op Operation
}

// rowsOf reads the rows of chunks, in order, with their failures and readings. Chunks that
// were removed, or never accepted, are skipped.
func (r *Record) rowsOf(ctx context.Context, places []chunkPlace) ([]opRow, error) {
	fail := func(err error) ([]opRow, error) { return nil, fmt.Errorf("reading desktops: %w", err) }
	ids := make([]string, len(places))
	for i, at := range places {
		ids[i] = at.op
	}
	slices.Sort(ids)
	ops, err := r.operations(ctx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	var refs []chunkID
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
	}
	for _, at := range places {
		// Two producers that accept the same request at once both write their time; one is valid.
		if op, known := byID[at.op]; known && at.late == lateness(op.AcceptedAt) && at.chunk < op.Chunks() {
			refs = append(refs, at.chunkID)
		}
	}
	chunks, trails := make([]*redis.MapStringStringCmd, len(refs)), make([]*redis.StringSliceCmd, len(refs))
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, x := range refs {
			chunks[i] = p.HGetAll(ctx, r.keys.chunk(x.op, x.chunk))
			trails[i] = p.LRange(ctx, r.keys.trail(x.op, x.chunk), 0, -1)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	var out []opRow
	for i, x := range refs {
		if len(chunks[i].Val()) == 0 {
			continue // it was removed meanwhile
		}
		ds, err := decodeChunk(x.op, x.chunk, chunks[i].Val())
		if err != nil {
			return nil, err
		}
		if err := r.addFailures(ctx, byID[x.op], ds); err != nil {
			return nil, err
		}
		rows := make([]opRow, len(ds))
		for n, d := range ds {
			rows[n] = opRow{rowTrail{Row: d}, byID[x.op]}
		}
		if err := addBefores(rows, trails[i].Val()); err != nil {
			return fail(err)
		}
		out = append(out, rows...)
	}
	return out, nil
}

// addBefores fills in the readings of a chunk's rows.
func addBefores(rows []opRow, trail []string) error {
	return eachBefore(trail, func(at int, b tasks.Before) {
		if at < len(rows) {
			rows[at].befores = append(rows[at].befores, b)
			rows[at].readAs(b)
		}
	})
}
