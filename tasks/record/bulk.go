package record

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// bulkKind is a kind of work on what a filter matched at its start: redrives and cancellations.
// Workers carry it out, whatever process dies.
type bulkKind struct {
	name string
	list string // of its keys
	tag  string // of its own keys
	none error
}

var (
	redriveKind      = bulkKind{"redrive", "redrives", "rd", tasks.ErrNoRedrive}
	cancellationKind = bulkKind{"cancellation", "cancellations", "cn", tasks.ErrNoCancellation}
)

// bulkOrphan is how long items are kept that belong to no bulk because their writer died.
const bulkOrphan = time.Hour

// storedBulk is the hash of a bulk.
type storedBulk struct {
	Meta    string `redis:"meta"`    // JSON as created
	Items   string `redis:"items"`   // key of its items: what it matched
	Next    int    `redis:"next"`    // number of items that were looked at
	Done    int    `redis:"retried"` // desktops that were retried or cancelled
	Late    int    `redis:"late"`    // desktops that were too late to be cancelled
	Again   int    `redis:"again"`   // items that were added because they must be looked at again
	Since   int    `redis:"since"`   // operations that came while it ran
	Ended   msTime `redis:"ended"`
	Aborted string `redis:"aborted"` // the person who aborted it
}

var bulkFields = fieldsOf[storedBulk]()

// bulkID is the id of a bulk that is created now, or the one that belongs to an idempotency key.
func bulkID(kind bulkKind, by, key string, now time.Time) string {
	id := xid.NewWithTime(now)
	if key != "" {
		sum := sha256.Sum256([]byte(kind.name + "\x00" + by + "\x00" + key))
		copy(id[:], sum[:])
	}
	return id.String()
}

// fingerprintOf tells requests with the same idempotency key apart; q is without the key.
func fingerprintOf(q any) string {
	sum := sha256.Sum256([]byte(mustJSON(q)))
	return hex.EncodeToString(sum[:16])
}

// begun reports whether a request has created a bulk; the error is kind.none if not.
func (r *Record) begun(ctx context.Context, kind bulkKind, id, fingerprint string) error {
	fp, err := r.rdb.HGet(ctx, r.keys.bulk(kind, id), "fp").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return kind.none
	case err != nil:
		return fmt.Errorf("reading %s %s: %w", kind.name, id, err)
	case fp != fingerprint:
		return tasks.ErrKeyReused
	}
	return nil
}

var scriptBegin = script("begin_bulk")

// begin creates a bulk, unless another call has. It returns the key of its own items.
func (r *Record) begin(ctx context.Context, kind bulkKind, id, fp string, now time.Time, items []string, meta any) (string, error) {
	key := r.keys.bulkItems(kind, id, xid.New().String())
	fail := func(err error) (string, error) { return "", fmt.Errorf("creating the %s: %w", kind.name, err) }
	if err := r.putItems(ctx, key, items); err != nil {
		return fail(err)
	}
	// The list entries come first, so that every bulk that exists is found.
	listed := redis.Z{Score: float64(now.UnixMilli()), Member: id}
	_, err := r.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZAddNX(ctx, r.keys.bulks(kind), listed)
		pipe.ZAddNX(ctx, r.keys.openBulks(kind), listed)
		pipe.ZRemRangeByScore(ctx, r.keys.bulks(kind), "-inf", formatMS(now.Add(-2*r.retention)))
		return nil
	})
	if err != nil {
		return fail(err)
	}
	if _, err := r.runScript(ctx, scriptBegin, []string{r.keys.bulk(kind, id), key}, fp, mustJSON(meta)); err != nil {
		return fail(err)
	}
	return key, r.begun(ctx, kind, id, fp)
}

// putItems writes what was matched. It expires unless a bulk keeps it.
func (r *Record) putItems(ctx context.Context, key string, items []string) error {
	for batch := range slices.Chunk(items, 2000) {
		values := make([]any, len(batch))
		for i, v := range batch {
			values[i] = v
		}
		var push *redis.IntCmd
		_, err := r.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			push = p.RPush(ctx, key, values...)
			p.Expire(ctx, key, bulkOrphan)
			return nil
		})
		if err != nil {
			return cmp.Or(push.Err(), err) // err is EXECABORT then, which has no reason
		}
	}
	return nil
}

// countBulks is the number of bulks of a kind.
func (r *Record) countBulks(ctx context.Context, kind bulkKind) (int, error) {
	n, err := r.rdb.ZCard(ctx, r.keys.bulks(kind)).Result()
	if err != nil {
		return 0, fmt.Errorf("counting %s: %w", kind.list, err)
	}
	return int(n), nil
}

// listBulks lists bulks, the latest first, at most size of them (default 100). An empty next
// means that there are no more.
func listBulks[T any](
	ctx context.Context, r *Record, kind bulkKind, size int, token string, fill func(*T, storedBulk),
) (out []T, next string, err error) {
	offset, size, err := pageOf(size, token)
	if err != nil {
		return nil, "", err
	}
	ids, err := r.rdb.ZRevRange(ctx, r.keys.bulks(kind), int64(offset), int64(offset+size-1)).Result()
	if err != nil {
		return nil, "", fmt.Errorf("listing %s: %w", kind.list, err)
	}
	if len(ids) == size {
		next = strconv.Itoa(offset + size)
	}
	out, err = readBulks(ctx, r, kind, ids, fill)
	return out, next, err
}

// pageOf reads the token of a page whose place is a number, and gives the size its default.
func pageOf(size int, token string) (from, of int, err error) {
	if size <= 0 {
		size = 100
	}
	if token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return 0, 0, tasks.ErrPageToken
		}
	}
	return from, size, nil
}

// readBulk reads one bulk; the error is kind.none if there is none.
func readBulk[T any](ctx context.Context, r *Record, kind bulkKind, id string, fill func(*T, storedBulk)) (T, error) {
	var none T
	xs, err := readBulks(ctx, r, kind, []string{id}, fill)
	if err == nil && len(xs) == 0 {
		err = fmt.Errorf("%s %s: %w", kind.name, id, kind.none)
	}
	if err != nil {
		return none, err
	}
	return xs[0], nil
}

// readBulks reads bulks; missing ones are skipped. fill adds what has changed since they were
// created.
func readBulks[T any](ctx context.Context, r *Record, kind bulkKind, ids []string, fill func(*T, storedBulk)) ([]T, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.HMGet(ctx, r.keys.bulk(kind, id), bulkFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kind.list, err)
	}
	var out []T
	for i, cmd := range cmds {
		var s storedBulk
		if err := cmd.(*redis.SliceCmd).Scan(&s); err != nil {
			return nil, fmt.Errorf("%s %s cannot be read: %w", kind.name, ids[i], err)
		}
		if s.Meta == "" {
			continue
		}
		var x T
		if err := decodeJSON(s.Meta, &x); err != nil {
			return nil, fmt.Errorf("%s %s cannot be read: %w", kind.name, ids[i], err)
		}
		fill(&x, s)
		out = append(out, x)
	}
	return out, nil
}

var scriptEnd = script("end_bulk")

// endBulk ends a bulk unless it has ended; by aborts it.
func (r *Record) endBulk(ctx context.Context, kind bulkKind, id, items string, now time.Time, by string, since int) error {
	keys := []string{r.keys.bulk(kind, id), items, r.keys.bulkTaken(kind, id)}
	_, err := r.runScript(ctx, scriptEnd, keys, now.UnixMilli(), by, r.retention.Milliseconds(), since)
	if err == nil {
		err = r.rdb.ZRem(ctx, r.keys.openBulks(kind), id).Err()
	}
	if err != nil {
		return fmt.Errorf("ending %s %s: %w", kind.name, id, err)
	}
	return nil
}

// advanceBulks carries out the bulks of a kind that have not ended, for about the given time
// at most, and returns the number of desktops. One worker calls it repeatedly; two at a time
// only waste effort.
func (p *Producer) advanceBulks(
	ctx context.Context, kind bulkKind, within time.Duration, advance func(ctx context.Context, id string, until time.Time) (int, error),
) (int, error) {
	r := p.Record
	zs, err := r.rdb.ZRangeWithScores(ctx, r.keys.openBulks(kind), 0, 99).Result()
	if err != nil {
		return 0, fmt.Errorf("reading the open %s: %w", kind.list, err)
	}
	done, until := 0, time.Now().Add(within)
	var failed []error
	for _, z := range zs {
		id := z.Member.(string)
		n, err := advance(ctx, id, until)
		if done += n; errors.Is(err, kind.none) {
			err = nil
			if p.now().Sub(time.UnixMilli(int64(z.Score))) > abandonedAfter { // else it may be about to be created
				err = r.rdb.ZRem(ctx, r.keys.openBulks(kind), id).Err()
			}
		}
		if err != nil {
			failed = append(failed, err) // another one may be readable
			if !time.Now().Before(until) {
				break
			}
		}
	}
	return done, errors.Join(failed...)
}

var scriptAdvance = script("advance")

// advanced is what became of the items that were looked at.
type advanced struct {
	seen  int      // items that were looked at before
	items int      // items that were looked at now
	done  int      // desktops that were retried or cancelled
	late  int      // desktops that were too late to be cancelled
	taken []Row    // of these, those that are listed
	again []string // items that are to be looked at again
}

// note notes it, unless another worker was faster.
func (r *Record) note(ctx context.Context, kind bulkKind, id, items string, a advanced) error {
	args := []any{a.seen, a.items, a.done, a.late, len(a.again)}
	for _, v := range a.again {
		args = append(args, v)
	}
	keys := []string{r.keys.bulk(kind, id), r.keys.bulkTaken(kind, id), items}
	if _, err := r.runScript(ctx, scriptAdvance, keys, append(args, placesTaken(a.taken)...)...); err != nil {
		return fmt.Errorf("advancing %s %s: %w", kind.name, id, err)
	}
	return nil
}

// placesTaken lists the chunks of desktops, each followed by the desktops' positions.
func placesTaken(ds []Row) (out []any) {
	var chunks []string
	places := map[string][]int{}
	for _, d := range ds {
		at := followMember(d.OperationID, d.Chunk)
		if places[at] == nil {
			chunks = append(chunks, at)
		}
		places[at] = append(places[at], d.Position)
	}
	for _, at := range chunks {
		out = append(out, at, trail.FormatRanges(trail.Ranges(places[at])))
	}
	return out
}

// takenPart is the rows of one chunk that a bulk has noted.
type takenPart struct {
	chunkID
	places []trail.Range
}

// takenParts reads the rows that a bulk has noted, in the order of operations and chunks.
func (r *Record) takenParts(ctx context.Context, kind bulkKind, id string) ([]takenPart, error) {
	taken, err := r.rdb.HGetAll(ctx, r.keys.bulkTaken(kind, id)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", kind.name, id, err)
	}
	var parts []takenPart
	for at, places := range taken {
		op, number, _ := strings.Cut(at, ":")
		n, err := strconv.Atoi(number)
		ranges, err2 := trail.ParseRanges(places)
		if err != nil || err2 != nil {
			return nil, fmt.Errorf("%s %s has the unreadable entry %.60q", kind.name, id, at)
		}
		parts = append(parts, takenPart{chunkID{op, n}, ranges})
	}
	slices.SortFunc(parts, func(a, b takenPart) int { return cmp.Or(strings.Compare(a.op, b.op), a.chunk-b.chunk) })
	return parts, nil
}

// takenRows reads the rows of parts, and passes them on in order. Those of expired operations
// are missing.
func (r *Record) takenRows(ctx context.Context, parts []takenPart, each func(Row)) error {
	for batch := range slices.Chunk(parts, 100) {
		cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, x := range batch {
				p.HGetAll(ctx, r.keys.chunk(x.op, x.chunk))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading desktops: %w", err)
		}
		for i, cmd := range cmds {
			values := cmd.(*redis.MapStringStringCmd).Val()
			if len(values) == 0 {
				continue
			}
			ds, err := decodeChunk(batch[i].op, batch[i].chunk, values)
			if err != nil {
				return err
			}
			for _, places := range batch[i].places {
				for n := places.First; n <= places.Last && n < len(ds); n++ {
					each(ds[n])
				}
			}
		}
	}
	return nil
}
