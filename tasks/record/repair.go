package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The keys about an operation are on several shards of a Redis Cluster: its own keys on one,
// the lists and indexes that name it on others. A shard that fails over can lose its last
// second alone. So a slow walk reads all keys with SCAN on every master. An operation's own
// keys are the facts; all other entries are derived from them. A walk over the lists alone
// would miss an operation that no list names any more.
//
//   - An operation is added to every list in which it is missing. The open list is enough for
//     the rest: a sweep follows unconfirmed desktops, enqueues chunks that have no task, and
//     finishes operations that have ended.
//   - An entry of a list, an index or an inbox is dropped if its operation does not exist and
//     no producer can still be accepting it (abandonedAfter).
//   - An operation that was never accepted and is in no list is added to the open list; a
//     sweep removes it.
//
// SCAN is complete only on one server. If one is replaced by another, the round starts over. If slots
// move, the round may miss keys, and the next finds them.

// RepairKind is a kind of repair.
type RepairKind string

// The kinds of repairs.
const (
	RepairedList      RepairKind = "listed"    // an operation was missing in a list of all, of a project, a requester or a ticket
	RepairedOpen      RepairKind = "open"      // one that has not ended, or was not closed, was missing in the open list
	RepairedEnded     RepairKind = "ended"     // one that has ended would not have expired, or one that is open would have
	RepairedScheduled RepairKind = "scheduled" // one that starts later was not in the scheduled list; or one that ended was, or waited
	RepairedIndex     RepairKind = "indexed"   // a row could not be found by its desktop, user or computer
	RepairedCounts    RepairKind = "counts"    // an operation's counts differed from its rows
	RepairedFailures  RepairKind = "failures"  // a class and code of failures was not listed
	RepairedRedrive   RepairKind = "redrives"  // a redrive was not listed, or would have stopped
	RepairedCancel    RepairKind = "cancels"   // a cancellation, likewise
	RepairedAbandoned RepairKind = "abandoned" // an operation that was never accepted would have stayed
	RepairedOrphan    RepairKind = "dropped"   // an entry led to no operation
)

// RepairKinds lists every kind.
var RepairKinds = []RepairKind{
	RepairedList, RepairedOpen, RepairedEnded, RepairedScheduled, RepairedIndex, RepairedCounts,
	RepairedFailures, RepairedRedrive, RepairedCancel, RepairedAbandoned, RepairedOrphan,
}

// Repairs counts repairs by kind.
type Repairs map[RepairKind]int

// Total is the number of all repairs.
func (x Repairs) Total() (n int) {
	for _, of := range x {
		n += of
	}
	return n
}

func (x Repairs) add(kind RepairKind, n int) {
	if n > 0 {
		x[kind] += n
	}
}

// RepairCursor is the position of a walk; the zero value begins a round. It is valid for one
// Record and in one process.
type RepairCursor struct {
	begun time.Time // start of the round; zero: not yet
	// since: entries that were written later may have been lost after their last check. The
	// indexes of rows are compared only with operations that changed since.
	since   time.Time
	masters []string // names of the servers of the round; nil: not read yet
	node    int      // the one that is read
	at      uint64   // of its SCAN
	todo    repairTodo

	// waiting: an entry of the indexes of rows was kept, as its operation may still be
	// accepted. The next round then begins with the same since.
	waiting bool

	operations, orphans, unreadable int
	unreadableIn                    []string // operations, the first ones
	repairs                         Repairs
}

// mostUnreadable is how many unreadable operations are named.
const mostUnreadable = 10

// cannotRead counts an operation, or a chunk of one, that is unreadable.
func (c *RepairCursor) cannotRead(op string) {
	c.unreadable++
	if len(c.unreadableIn) < mostUnreadable && !slices.Contains(c.unreadableIn, op) {
		c.unreadableIn = append(c.unreadableIn, op)
	}
}

// OperationsLeft reports that the round has not looked at all operations yet. They come first, and until
// then what is missing in the open list waits.
func (c RepairCursor) OperationsLeft() bool {
	return c.masters == nil || c.node < len(c.masters) || len(c.todo.ops) > 0
}

// repairTodo holds what SCAN returned and the walk has not processed yet: the keys of all buckets
// and lists, and all chunks that must be compared with the indexes.
type repairTodo struct {
	ops      []string
	lists    []listPart
	buckets  []string
	redrives []string
	cancels  []string // cancellations
	rows     []chunkID
	// What the indexes of rows should have of the chunks that were read. A bucket is read once for all
	// of them: Lua hashes what it reads, which at a million desktops takes longer than all the rest.
	read  int // chunks
	index indexWrites
	names *nameWrites
}

// listPart is a sorted set, from a cursor of ZSCAN on.
type listPart struct {
	key string
	at  uint64
}

// The size of a step.
const (
	repairKeys    = 1000 // of a page of SCAN
	repairOps     = 100  // 400 commands in a round trip
	repairLists   = 16   // with up to some 200 entries each
	repairBuckets = 16
	repairRows    = 32  // chunks
	repairRead    = 256 // chunks, some six rows for each bucket
	repairEnter   = 512 // buckets of an index
	repairAtOnce  = 4   // scripts over buckets or names in one round trip: all others wait for them
)

// repairSlack is the age at which an entry counts as safe: one that the last round checked
// and that was written this long before the round began.
const repairSlack = time.Hour

// RepairStep does the next step of the walk: a few round trips for about 100 operations. It
// returns the next cursor, its repairs, and whether the round has ended. After an error,
// continue with the same cursor. Results are stored; see RepairReport. Two walks at a time are
// harmless.
func (r *Record) RepairStep(
	ctx context.Context, now time.Time, c RepairCursor,
) (next RepairCursor, repaired Repairs, ended bool, err error) {
	fail := func(err error) (RepairCursor, Repairs, bool, error) {
		return c, nil, false, fmt.Errorf("repairing the record: %w", err)
	}
	next = c
	if next.begun.IsZero() {
		if next, err = r.beginRound(ctx, now); err != nil {
			return fail(err)
		}
	}
	w := &repairStep{Record: r, now: now, cursor: &next, repairs: Repairs{}}
	more, err := w.step(ctx)
	if err != nil {
		return fail(err)
	}
	next.repairs = maps.Clone(next.repairs)
	for kind, n := range w.repairs {
		next.repairs[kind] += n
	}
	if err := r.noteRepairs(ctx, now, w.repairs); err != nil {
		return fail(err)
	}
	if more {
		return next, w.repairs, false, nil
	}
	if err := r.noteRound(ctx, now, next); err != nil {
		return fail(err)
	}
	return RepairCursor{}, w.repairs, true, nil
}

func (r *Record) beginRound(ctx context.Context, now time.Time) (RepairCursor, error) {
	c := RepairCursor{begun: now, repairs: Repairs{}}
	v, err := r.rdb.HMGet(ctx, r.keys.repair(), safeField).Result()
	if err != nil {
		return c, err
	}
	if ms := number(v[0]); ms > 0 {
		c.since = time.UnixMilli(ms).Add(-repairSlack)
	}
	return c, nil
}

// repairStep is one step.
type repairStep struct {
	*Record
	now     time.Time
	cursor  *RepairCursor
	repairs Repairs
}

// take removes up to n items from the front of a list and returns them.
func take[T any](list *[]T, n int) []T {
	n = min(n, len(*list))
	some := (*list)[:n:n]
	*list = (*list)[n:]
	return some
}

// step does what comes next; false: the round is over. The operations come before the rest, which
// takes many times as long.
func (s *repairStep) step(ctx context.Context) (more bool, err error) {
	masters, err := s.mastersNow(ctx)
	if err != nil {
		return false, err
	}
	todo := &s.cursor.todo
	switch {
	case len(todo.ops) > 0:
		return true, s.repairOperations(ctx, take(&todo.ops, repairOps), false)
	case s.cursor.OperationsLeft():
		return true, s.scan(ctx, masters[s.cursor.node])
	case todo.read >= repairRead:
		return true, s.enterRows(ctx)
	case len(todo.rows) > 0:
		return true, s.readRows(ctx, take(&todo.rows, repairRows))
	case len(todo.lists) > 0:
		return true, s.repairLists(ctx, take(&todo.lists, repairLists))
	case len(todo.buckets) > 0:
		return true, s.repairBuckets(ctx, take(&todo.buckets, repairBuckets))
	case len(todo.redrives) > 0:
		return true, s.repairBulks(ctx, redriveKind, RepairedRedrive, take(&todo.redrives, repairOps))
	case len(todo.cancels) > 0:
		return true, s.repairBulks(ctx, cancellationKind, RepairedCancel, take(&todo.cancels, repairOps))
	case todo.read > 0:
		return true, s.enterRows(ctx)
	}
	return false, nil
}

// scanner is a server that has keys.
type scanner interface {
	Scan(ctx context.Context, cursor uint64, match string, count int64) *redis.ScanCmd
}

// masters returns the servers that have keys, in a fixed order, and their names.
func (r *Record) masters(ctx context.Context) (all []scanner, names []string, err error) {
	cluster, ok := r.rdb.(*redis.ClusterClient)
	if !ok {
		return []scanner{r.rdb}, []string{"the only one"}, nil
	}
	var mu sync.Mutex
	var nodes []*redis.Client
	err = cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	})
	slices.SortFunc(nodes, func(a, b *redis.Client) int { return cmp.Compare(a.Options().Addr, b.Options().Addr) })
	if err == nil && len(nodes) == 0 {
		err = errors.New("the Cluster has no primary")
	}
	for _, node := range nodes {
		all, names = append(all, node), append(names, node.Options().Addr)
	}
	return all, names, err
}

// mastersNow returns the servers that have keys. If they are others than before, the one that was
// replaced may have lost its last second, so the round starts over.
func (s *repairStep) mastersNow(ctx context.Context) ([]scanner, error) {
	masters, names, err := s.masters(ctx)
	if c := s.cursor; err == nil && !slices.Equal(names, c.masters) {
		c.masters, c.node, c.at, c.todo = names, 0, 0, repairTodo{}
		c.operations, c.orphans, c.unreadable, c.unreadableIn = 0, 0, 0, nil
	}
	return masters, err
}

// scan reads the next page of keys.
func (s *repairStep) scan(ctx context.Context, master scanner) error {
	c := s.cursor
	keys, next, err := master.Scan(ctx, c.at, escapeGlob(s.keys.prefix)+":*", repairKeys).Result()
	if err != nil {
		return err
	}
	for _, key := range keys {
		s.sort(key)
	}
	if c.at = next; next == 0 {
		c.node++
	}
	return nil
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// sort adds a key to the work that it needs.
func (s *repairStep) sort(key string) {
	todo := &s.cursor.todo
	rest := strings.TrimPrefix(key, s.keys.prefix+":")
	if tagged, ok := strings.CutPrefix(rest, "{"); ok {
		tag, name, _ := strings.Cut(tagged, "}")
		switch project, isProject := strings.CutPrefix(tag, "p:"); {
		case isProject && (name == ":follow" || strings.HasPrefix(name, ":failures:")):
			todo.lists = append(todo.lists, listPart{key: key})
		case isProject && project != "":
		case strings.HasPrefix(tag, "rd:") && name == "":
			todo.redrives = append(todo.redrives, strings.TrimPrefix(tag, "rd:"))
		case strings.HasPrefix(tag, "cn:") && name == "":
			todo.cancels = append(todo.cancels, strings.TrimPrefix(tag, "cn:"))
		case name == ":op":
			todo.ops = append(todo.ops, tag)
		}
		return
	}
	name, _, _ := strings.Cut(rest, ":")
	switch name {
	case "ops", "scheduled", "waiting", "ended":
		todo.lists = append(todo.lists, listPart{key: key})
	case "desktops", "named":
		if strings.Contains(rest, ":{i:") {
			todo.buckets = append(todo.buckets, key)
		}
	}
}

// entries are entries to be added to sorted sets, by key.
type entries map[string][]redis.Z

func (e entries) add(key string, score int64, id string) {
	e[key] = append(e[key], redis.Z{Score: float64(score), Member: id})
}

// enter adds missing entries and counts them.
func (s *repairStep) enter(ctx context.Context, missing map[RepairKind]entries) error {
	type adding struct {
		kind RepairKind
		n    *redis.IntCmd
	}
	var all []adding
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for kind, byKey := range missing {
			for key, zs := range byKey {
				all = append(all, adding{kind, p.ZAddNX(ctx, key, zs...)})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, x := range all {
		s.repairs.add(x.kind, int(x.n.Val()))
	}
	return nil
}
