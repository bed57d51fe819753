package tasks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/text/unicode/norm"
)

// Search finds rows by desktop id, by user and by the name of the computer, whole
// and whatever the case, over all operations, the latest first: a user is one
// who was named as a leaver, was expected on the desktop, or was on it when it
// was last read before a call; a computer's name is as it was read then, or as
// the cloud gave it when the desktop failed. Desktop.Before is filled in. size is the most
// that are returned (default 100). An empty next means that there are no more;
// a page that takes too long is short, or empty, and next says where to go on.
func (r *Record) Search(ctx context.Context, text string, size int, token string) (events []Event, next string, err error) {
	text = norm.NFC.String(CanonicalDesktopID(text))
	name := foldName(strings.TrimPrefix(text, userRow))
	id := foldName(text)
	if name == "" || len(id) > 4*maxName {
		return nil, "", nil
	}
	about, err := r.chunksAbout(ctx, text)
	if err != nil {
		return nil, "", err
	}
	return r.walkNamed(ctx, name, about, size, token, func(row rowTrail) bool {
		return foldName(row.ID) == id || row.names(name)
	})
}

// chunksAbout gives the chunks that have a desktop id, by chunkPlace. Ids are
// looked for as they are written and in small and capital letters.
func (r *Record) chunksAbout(ctx context.Context, id string) ([]string, error) {
	forms := []string{id, strings.ToLower(id), strings.ToUpper(id)}
	slices.Sort(forms)
	var out []string
	for _, id := range slices.Compact(forms) {
		entries, err := r.historyEntries(ctx, id)
		if err != nil {
			return nil, err
		}
		ids := make([]string, 0, len(entries))
		for op := range entries {
			ids = append(ids, op)
		}
		ops, err := r.operations(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			out = append(out, chunkPlace(op, entries[op.ID]))
		}
	}
	return out, nil
}

// rowTrail is a row with all readings of it.
type rowTrail struct {
	Desktop
	befores []Before
}

// names reports whether a row has to do with a user or a computer.
func (row rowTrail) names(name string) bool {
	is := func(s string) bool { return foldName(s) == name }
	if user, isUser := row.User(); isUser && is(user) || slices.ContainsFunc(row.Expect, is) || row.Failure != nil && is(row.Failure.DesktopName) {
		return true
	}
	return slices.ContainsFunc(row.befores, func(b Before) bool {
		return is(b.Name) || slices.ContainsFunc(b.Users, func(p Person) bool { return is(p.Name) })
	})
}

// failuresOfUser is Failures by way of the index of names.
func (r *Record) failuresOfUser(ctx context.Context, f FailureFilter, size int, token string) (out []Failure, next string, err error) {
	events, next, err := r.walkNamed(ctx, foldName(f.User), nil, size, token, func(row rowTrail) bool {
		return (row.State == Failed || row.State == Held) && row.Failure != nil && f.match(*row.Failure)
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

// walkNamed reads the rows, of the chunks that the index gives for a name and of
// some more, that keep wants.
func (r *Record) walkNamed(ctx context.Context, name string, more []string, size int, token string, keep func(rowTrail) bool) (out []Event, next string, err error) {
	if size <= 0 {
		size = 100
	}
	from, position := "", 0
	if token != "" {
		place, at, ok := strings.Cut(token, ".")
		_, _, valid := parseChunkPlace(place)
		if position, err = strconv.Atoi(at); err != nil || !ok || !valid || position < 0 {
			return nil, "", ErrPageToken
		}
		from = place
	}
	for left := pageChunks; ; {
		n := min(left, 8)
		places, err := r.chunksNamed(ctx, name, from, n+1)
		if err != nil {
			return nil, "", err
		}
		for _, place := range more {
			if place >= from {
				places = append(places, place)
			}
		}
		slices.Sort(places)
		places = slices.Compact(places)
		rows, err := r.rowsOf(ctx, places[:min(n, len(places))])
		if err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			place := chunkPlace(row.op, row.Chunk)
			if place == from && row.Position < position || !keep(row.rowTrail) {
				continue
			}
			if len(out) == size {
				return out, place + "." + strconv.Itoa(row.Position), nil
			}
			out = append(out, Event{row.op, row.Desktop})
		}
		if len(places) <= n {
			return out, "", nil
		}
		from, position = places[n], 0
		if left -= n; left == 0 {
			return out, from + ".0", nil
		}
	}
}

// opRow is a row and its operation.
type opRow struct {
	rowTrail
	op Operation
}

// rowsOf reads the rows of chunks, in their order, with what is known of each.
// Those that are gone, or were never accepted, are missing.
func (r *Record) rowsOf(ctx context.Context, places []string) ([]opRow, error) {
	fail := func(err error) ([]opRow, error) { return nil, fmt.Errorf("reading desktops: %w", err) }
	ids := make([]string, 0, len(places))
	for _, place := range places {
		if _, ref, ok := parseChunkPlace(place); ok {
			ids = append(ids, ref.op)
		}
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
	for _, place := range places {
		// Two who accept the same request at once both write their time; one counts.
		late, ref, ok := parseChunkPlace(place)
		if op, known := byID[ref.op]; ok && known && late == lateness(op.AcceptedAt) && ref.chunk < op.Chunks() {
			refs = append(refs, ref)
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
			continue // removed meanwhile
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
			rows[n] = opRow{rowTrail{Desktop: d}, byID[x.op]}
		}
		if err := addBefores(rows, trails[i].Val()); err != nil {
			return fail(err)
		}
		out = append(out, rows...)
	}
	return out, nil
}

// addBefores fills in what a chunk's rows were read as.
func addBefores(rows []opRow, trail []string) error {
	return eachBefore(trail, func(at int, b Before) {
		if at < len(rows) {
			rows[at].befores = append(rows[at].befores, b)
			rows[at].readAs(b)
		}
	})
}
