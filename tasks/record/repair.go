package record

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"
)

// What is known of an operation is on several shards of a Redis Cluster: its own
// keys on one, and on others that it is listed, open, ended, scheduled, followed and
// indexed. A shard that fails over can lose its last second by itself. So a slow walk
// goes through all keys, by SCAN on every master: an operation's own keys are the
// facts, and whatever else there is follows from them. A walk over the lists alone
// would not find the operation that no list names any more.
//
//   - What an operation should be in and is not, it is entered into. Being open is
//     enough for the rest: a sweep follows what is not proven, enqueues chunks that
//     have no task, and finishes what has ended.
//   - What a list, an index or an inbox has of an operation that is not there is
//     dropped, once no producer can be about to accept it (abandonedAfter).
//   - What was never accepted and is in no list is entered among the open ones, from
//     where a sweep removes it.
//
// SCAN's promise holds for a server: where one fails over within a round, or slots
// move, the round may miss keys and the next finds them.

// RepairKind is what a walk repairs.
type RepairKind string

// The kinds of repairs.
const (
	RepairedList      RepairKind = "listed"    // an operation was missing in a list of all, of a project, a requester or a ticket
	RepairedOpen      RepairKind = "open"      // one that has not ended, or was not closed, was not among the open ones
	RepairedEnded     RepairKind = "ended"     // one that has ended would not have expired, or one that is open would have
	RepairedScheduled RepairKind = "scheduled" // one that starts later was not among the scheduled, or one that has ended was
	RepairedIndex     RepairKind = "indexed"   // a row could not be found by its desktop, user or computer
	RepairedCounts    RepairKind = "counts"    // an operation's counts were not those of its rows
	RepairedFailures  RepairKind = "failures"  // a class and code of failures was not listed
	RepairedRedrive   RepairKind = "redrives"  // a redrive was not listed, or would not have gone on
	RepairedAbandoned RepairKind = "abandoned" // what was never accepted would have stayed
	RepairedOrphan    RepairKind = "dropped"   // an entry led to no operation
)

// RepairKinds lists every kind.
var RepairKinds = []RepairKind{
	RepairedList, RepairedOpen, RepairedEnded, RepairedScheduled, RepairedIndex, RepairedCounts,
	RepairedFailures, RepairedRedrive, RepairedAbandoned, RepairedOrphan,
}

// Repairs counts them.
type Repairs map[RepairKind]int

// Total is how many there are.
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

// RepairCursor is where a walk goes on; the zero value begins a round. It is good
// for one Record and while the process lives.
type RepairCursor struct {
	begun time.Time // the round; zero: not yet
	// since is from when on what was written may have been lost after it was last
	// looked at: the indexes of rows are compared only with operations that changed since.
	since   time.Time
	masters string // as they were when the round began
	node    int    // of those
	at      uint64 // of its SCAN
	todo    repairTodo

	// waiting: an entry of the indexes of rows was left, as what it is about may be
	// accepted yet. The next round looks that far back again.
	waiting bool

	operations, orphans, unreadable int
	repairs                         Repairs
}

// repairTodo is what a page of SCAN has shown and was not looked at yet.
type repairTodo struct {
	ops      []string
	lists    []listPart
	buckets  []string
	redrives []string
	rows     []chunkID
}

// listPart is a sorted set, from a cursor of ZSCAN on.
type listPart struct {
	key string
	at  uint64
}

// How much a step does.
const (
	repairKeys    = 1000 // of a page of SCAN
	repairOps     = 200
	repairLists   = 16 // with up to some 200 entries each
	repairBuckets = 16
	repairRows    = 16 // chunks
)

// repairSlack is how long before the last round began something must have been
// written to count as safe when that round looked at it.
const repairSlack = time.Hour

// RepairStep does the next step of the walk, a few round trips about some 200
// operations, and says where to go on, what it repaired, and whether that was the end
// of a round. After an error the same cursor goes on. What it finds is kept; see
// RepairReport. Two walks at a time are harmless.
func (r *Record) RepairStep(ctx context.Context, now time.Time, c RepairCursor) (next RepairCursor, repaired Repairs, ended bool, err error) {
	fail := func(err error) (RepairCursor, Repairs, bool, error) {
		return c, nil, false, fmt.Errorf("looking for what the record has lost: %w", err)
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

// take gives up to n of a list that is left to do.
func take[T any](list *[]T, n int) []T {
	n = min(n, len(*list))
	some := (*list)[:n:n]
	*list = (*list)[n:]
	return some
}

// step does what is left of the last page, or reads the next; false: there is none.
func (s *repairStep) step(ctx context.Context) (more bool, err error) {
	todo := &s.cursor.todo
	switch {
	case len(todo.rows) > 0:
		return true, s.repairRows(ctx, take(&todo.rows, repairRows))
	case len(todo.ops) > 0:
		return true, s.repairOperations(ctx, take(&todo.ops, repairOps), false)
	case len(todo.lists) > 0:
		return true, s.repairLists(ctx, take(&todo.lists, repairLists))
	case len(todo.buckets) > 0:
		return true, s.repairBuckets(ctx, take(&todo.buckets, repairBuckets))
	case len(todo.redrives) > 0:
		return true, s.repairRedrives(ctx, take(&todo.redrives, repairOps))
	}
	return s.scan(ctx)
}

// scanner is a server that has keys.
type scanner interface {
	Scan(ctx context.Context, cursor uint64, match string, count int64) *redis.ScanCmd
}

// masters gives the servers that have keys, always in the same order, and their names.
func (r *Record) masters(ctx context.Context) (all []scanner, names string, err error) {
	cluster, ok := r.rdb.(*redis.ClusterClient)
	if !ok {
		return []scanner{r.rdb}, "", nil
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
	for _, node := range nodes {
		all, names = append(all, node), names+node.Options().Addr+" "
	}
	return all, names, err
}

// scan reads the next page of keys.
func (s *repairStep) scan(ctx context.Context) (more bool, err error) {
	c := s.cursor
	masters, names, err := s.masters(ctx)
	if err != nil {
		return false, err
	}
	if names != c.masters { // they changed, and with them what a place in the round means
		c.masters, c.node, c.at = names, 0, 0
	}
	if c.node >= len(masters) {
		return false, nil
	}
	keys, next, err := masters[c.node].Scan(ctx, c.at, escapeGlob(s.keys.prefix)+":*", repairKeys).Result()
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		s.sort(key)
	}
	if c.at = next; next == 0 {
		c.node++
	}
	return true, nil
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// sort notes what is to be done about a key.
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
		case name == ":op":
			todo.ops = append(todo.ops, tag)
		}
		return
	}
	name, _, _ := strings.Cut(rest, ":")
	switch name {
	case "ops", "scheduled", "ended":
		todo.lists = append(todo.lists, listPart{key: key})
	case "desktops", "named":
		if strings.Contains(rest, ":{i:") {
			todo.buckets = append(todo.buckets, key)
		}
	}
}

// entries are those to be added to sorted sets, by key.
type entries map[string][]redis.Z

func (e entries) add(key string, score int64, id string) {
	e[key] = append(e[key], redis.Z{Score: float64(score), Member: id})
}

// repairOperations enters operations where they belong. What is missing is looked at
// twice, as it may have moved between two readings: sure is the second time.
func (s *repairStep) repairOperations(ctx context.Context, ids []string, sure bool) error {
	metas, there := make([]*redis.SliceCmd, len(ids)), make([]*redis.IntCmd, len(ids))
	open, unproven := make([]*redis.StringSliceCmd, len(ids)), make([]*redis.StringSliceCmd, len(ids))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			there[i] = p.Exists(ctx, s.keys.op(id))
			metas[i] = p.HMGet(ctx, s.keys.op(id), operationFields...)
			open[i], unproven[i] = p.HVals(ctx, s.keys.open(id)), p.HVals(ctx, s.keys.unproven(id))
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing := map[RepairKind]entries{}
	for _, kind := range RepairKinds {
		missing[kind] = entries{}
	}
	var doubtful []Operation
	for i, id := range ids {
		var v storedOperation
		err := metas[i].Scan(&v)
		op, accepted, err2 := v.operation(id)
		switch {
		case there[i].Val() == 0: // removed a moment ago
		case err != nil || err2 != nil:
			s.cursor.unreadable++
		case v.Expired && v.Meta != "": // its removal has begun: it goes on from the ended ones
			missing[RepairedEnded].add(s.keys.endedOps(), max(0, v.Ended.UnixMilli()), id)
		case !accepted:
			missing[RepairedAbandoned].add(s.keys.openOps(), s.now.UnixMilli(), id)
		default:
			if !sure {
				s.noteOperation(op)
			}
			if inDoubt(op, sum(open[i].Val()), sum(unproven[i].Val())) {
				doubtful = append(doubtful, op)
			} else {
				s.belongs(op, missing)
			}
		}
	}
	if sure {
		if err := s.recountAll(ctx, doubtful, missing); err != nil {
			return err
		}
		return s.enter(ctx, missing)
	}
	again, err := s.absent(ctx, missing)
	if err != nil {
		return err
	}
	again = append(again, idsOf(doubtful)...)
	if len(again) == 0 {
		return nil
	}
	slices.Sort(again)
	return s.repairOperations(ctx, slices.Compact(again), true)
}

// noteOperation counts an operation, and notes which of its rows are to be looked up.
func (s *repairStep) noteOperation(op Operation) {
	s.cursor.operations++
	if s.rowsMayBeLost(op) {
		for n := range op.Chunks() {
			s.cursor.todo.rows = append(s.cursor.todo.rows, chunkID{op.ID, n})
		}
	}
}

// absent gives the operations of which an entry is missing.
func (s *repairStep) absent(ctx context.Context, missing map[RepairKind]entries) (ids []string, err error) {
	var of [][]redis.Z
	var scores []*redis.FloatSliceCmd
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, byKey := range missing {
			for key, zs := range byKey {
				members := make([]string, len(zs))
				for i, z := range zs {
					members[i] = z.Member.(string)
				}
				of, scores = append(of, zs), append(scores, p.ZMScore(ctx, key, members...))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, zs := range of {
		for n, score := range scores[i].Val() {
			if score == 0 { // what the client makes of "none"
				ids = append(ids, zs[n].Member.(string))
			}
		}
	}
	return ids, nil
}

// recountAll counts the rows of operations whose counts cannot be right. Where that
// changes something they are looked at once more, as they may have ended by it.
func (s *repairStep) recountAll(ctx context.Context, doubtful []Operation, missing map[RepairKind]entries) error {
	for _, op := range doubtful {
		changed, err := s.recount(ctx, op)
		if err != nil {
			return err
		}
		if changed {
			s.repairs.add(RepairedCounts, 1)
			s.cursor.todo.ops = append(s.cursor.todo.ops, op.ID)
		} else {
			s.belongs(op, missing)
		}
	}
	return nil
}

// belongs says what an operation should be in.
func (s *repairStep) belongs(op Operation, missing map[RepairKind]entries) {
	accepted := op.AcceptedAt.UnixMilli()
	switch {
	case op.Sealed():
		missing[RepairedEnded].add(s.keys.endedOps(), op.EndedAt.UnixMilli(), op.ID)
		if s.now.Sub(op.EndedAt) >= s.retention {
			return // it is about to leave the lists
		}
	default: // Finish takes it off when it is sealed
		missing[RepairedOpen].add(s.keys.openOps(), accepted, op.ID)
	}
	for _, key := range append(s.keys.indexesOf(indexedOf(op)), s.keys.operations()) {
		missing[RepairedList].add(key, accepted, op.ID)
	}
	if op.NotBefore.After(op.AcceptedAt) && !op.Done() {
		for _, project := range []string{"", op.Project} {
			missing[RepairedScheduled].add(s.keys.scheduled(project), -ceilMS(op.NotBefore), op.ID)
		}
	}
}

// enter adds entries that are missing, and counts those that were.
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

// rowsMayBeLost reports that entries of the indexes of rows may have been written
// since they were last compared.
func (s *repairStep) rowsMayBeLost(op Operation) bool {
	return op.State(s.now) == tasks.OperationRunning || !op.AcceptedAt.Before(s.cursor.since) || op.Done() && !op.EndedAt.Before(s.cursor.since)
}

func sum(values []string) (n int) {
	for _, v := range values {
		n += int(number(v))
	}
	return n
}

// inDoubt reports that an operation's counts cannot be right. One that is moved
// while it is read may look so.
func inDoubt(op Operation, open, unproven int) bool {
	total := 0
	for _, state := range tasks.States {
		total += op.Counts.Of(state)
	}
	return open != op.Counts.Queued+op.Counts.Sending || unproven != op.Counts.Accepted || total != op.Total || op.Done() != (open+unproven == 0)
}

var scriptRecount = script("recount")

// countsText is counts as scriptRecount writes them.
func countsText(counts tasks.Counts, open, unproven map[string]string) string {
	var out []string
	for _, state := range tasks.States {
		out = append(out, strconv.Itoa(counts.Of(state)))
	}
	for _, hash := range []map[string]string{open, unproven} {
		var list []string
		for chunk, n := range hash {
			list = append(list, chunk+"="+n)
		}
		slices.Sort(list)
		out = append(out, strings.Join(list, ","))
	}
	return strings.Join(out, ";")
}

// recount sets an operation's counts to those of its rows, if they are others and
// nobody moves any meanwhile.
func (s *repairStep) recount(ctx context.Context, op Operation) (changed bool, err error) {
	var was *redis.SliceCmd
	var open, unproven *redis.MapStringStringCmd
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		was = p.HMGet(ctx, s.keys.op(op.ID), operationFields...)
		open, unproven = p.HGetAll(ctx, s.keys.open(op.ID)), p.HGetAll(ctx, s.keys.unproven(op.ID))
		return nil
	})
	if err != nil {
		return false, err
	}
	var stored storedOperation
	if err := was.Scan(&stored); err != nil {
		return false, err
	}
	counts := tasks.Counts{}
	left := [2]map[string]string{{}, {}}
	for first := 0; first < op.Chunks(); first += 64 {
		rows, err := s.readChunks(ctx, op, chunkRange(first, min(first+64, op.Chunks()))...)
		if err != nil {
			s.cursor.unreadable++
			return false, s.rdb.Ping(ctx).Err() // Redis is there, so it is the rows
		}
		for _, d := range rows {
			counts.Count(d.State)
			for i, is := range []bool{d.State.Open(), d.State == tasks.StateAccepted} {
				if is {
					chunk := strconv.Itoa(d.Chunk)
					left[i][chunk] = strconv.Itoa(int(number(left[i][chunk])) + 1)
				}
			}
		}
	}
	before := countsText(stored.counts(), open.Val(), unproven.Val())
	ended := !stored.Ended.IsZero()
	if before == countsText(counts, left[0], left[1]) && ended == (len(left[0])+len(left[1]) == 0) {
		return false, nil
	}
	args := []any{s.now.UnixMilli(), before, 2 * len(left[0]), 2 * len(left[1])}
	for _, hash := range left {
		for chunk, n := range hash {
			args = append(args, chunk, n)
		}
	}
	for _, state := range tasks.States {
		args = append(args, countField+string(state), counts.Of(state))
	}
	v, err := s.runScript(ctx, scriptRecount, []string{s.keys.op(op.ID), s.keys.open(op.ID), s.keys.unproven(op.ID)}, args...)
	done, _ := v.(int64)
	return done == 1, err
}

// listEntry is an entry of a sorted set that names an operation.
type listEntry struct {
	key, member, op string
	score           float64
}

// repairLists drops what leads to no operation, and what is in the wrong list.
func (s *repairStep) repairLists(ctx context.Context, parts []listPart) error {
	var pages []*redis.ScanCmd
	groups := map[string]*redis.IntCmd{}
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, x := range parts {
			pages = append(pages, p.ZScan(ctx, x.key, x.at, "", repairOps))
			if g, ok := s.groupOfKey(x.key); ok {
				groups[x.key] = p.SAdd(ctx, s.keys.failureGroups(), g.String())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, added := range groups {
		s.repairs.add(RepairedFailures, int(added.Val()))
	}
	var all []listEntry
	for i, x := range parts {
		values, next := pages[i].Val()
		for n := 0; n+1 < len(values); n += 2 {
			score, _ := strconv.ParseFloat(values[n+1], 64)
			op, _, _ := strings.Cut(values[n], ":") // of followed chunks
			op, _, _ = strings.Cut(op, "/")         // of failures
			all = append(all, listEntry{x.key, values[n], op, score})
		}
		if next != 0 {
			s.cursor.todo.lists = append(s.cursor.todo.lists, listPart{x.key, next})
		}
	}
	return s.dropEntries(ctx, all)
}

// groupOfKey gives the failures that a sorted set has.
func (s *repairStep) groupOfKey(key string) (failureGroup, bool) {
	tagged, ok := strings.CutPrefix(key, s.keys.prefix+":{p:")
	project, rest, tag := strings.Cut(tagged, "}:failures:")
	class, code, sep := strings.Cut(rest, groupSep)
	return failureGroup{project, tasks.Class(class), code}, ok && tag && sep
}

// presence is what is known of an operation that an entry names.
type presence struct {
	there bool // it was accepted
	ended bool
	young bool // it may be about to be accepted
}

// present looks operations up, in one round trip.
func (s *repairStep) present(ctx context.Context, ids []string) (map[string]presence, error) {
	out := make(map[string]presence, len(ids))
	for some := range slices.Chunk(ids, 1000) {
		there, ended := make([]*redis.BoolCmd, len(some)), make([]*redis.BoolCmd, len(some))
		var begun *redis.FloatSliceCmd
		_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range some {
				there[i], ended[i] = p.HExists(ctx, s.keys.op(id), fieldOperation), p.HExists(ctx, s.keys.op(id), fieldEnded)
			}
			begun = p.ZMScore(ctx, s.keys.openOps(), some...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, id := range some {
			out[id] = presence{there[i].Val(), ended[i].Val(), s.young(int64(begun.Val()[i]))}
		}
	}
	return out, nil
}

// young reports that what began then, in ms, may be under way still.
func (s *repairStep) young(ms int64) bool { return s.now.Sub(time.UnixMilli(ms)) <= abandonedAfter }

func (s *repairStep) dropEntries(ctx context.Context, all []listEntry) error {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.op
	}
	slices.Sort(ids)
	known, err := s.present(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	type drop struct {
		key  string
		kind RepairKind
	}
	gone, failures := map[drop][]any{}, inboxWrites{}
	for _, x := range all {
		is := known[x.op]
		scheduled := strings.HasPrefix(x.key, s.keys.scheduled(""))
		follow := strings.HasSuffix(x.key, ":follow")
		var kind RepairKind
		switch {
		case is.there && x.key == s.keys.endedOps() && !is.ended:
			kind = RepairedEnded
		case is.there && scheduled && is.ended:
			kind = RepairedScheduled
		case is.there:
			continue
		default:
			s.cursor.orphans++
			// The score of the others is a time that has passed.
			if is.young || !scheduled && !follow && s.young(int64(x.score)) {
				continue
			}
			kind = RepairedOrphan
		}
		if g, ok := s.groupOfKey(x.key); ok {
			_, desktop, _ := strings.Cut(x.member, "/")
			failures.add(g.project, leave, desktop, inboxEntry{Operation: x.op})
			s.repairs.add(kind, 1)
			kind = "" // counted
		}
		gone[drop{x.key, kind}] = append(gone[drop{x.key, kind}], x.member)
	}
	if _, err := s.writeInbox(ctx, failures, nil); err != nil {
		return err
	}
	removed := map[drop]*redis.IntCmd{}
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for x, members := range gone {
			removed[x] = p.ZRem(ctx, x.key, members...)
		}
		return nil
	})
	for x, n := range removed {
		if x.kind != "" {
			s.repairs.add(x.kind, int(n.Val()))
		}
	}
	return err
}

// repairBuckets drops entries of the indexes of rows that lead to no operation.
func (s *repairStep) repairBuckets(ctx context.Context, keys []string) error {
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.GetRange(ctx, key, 0, -1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	named := make([][]string, len(keys)) // operations
	var ids []string
	for i, cmd := range cmds {
		for _, e := range parseEntries(cmd.(*redis.StringCmd).Val()) {
			accepted := int64(1<<48 - 1 - e.late)
			if s.young(accepted) || accepted < s.cursor.since.UnixMilli() {
				continue
			}
			named[i], ids = append(named[i], e.op), append(ids, e.op)
		}
	}
	slices.Sort(ids)
	known, err := s.present(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	var calls []*scriptCall
	for i, key := range keys {
		slices.Sort(named[i])
		var ops []byte
		for _, id := range slices.Compact(named[i]) {
			switch is := known[id]; {
			case is.there:
			case is.young:
				s.cursor.orphans++
				s.cursor.waiting = true
			default:
				raw, err := xid.FromString(id)
				if err != nil {
					continue // what was read as one can be read as one
				}
				ops = append(ops, raw[:]...)
				s.cursor.orphans++
				s.repairs.add(RepairedOrphan, 1)
			}
		}
		if len(ops) > 0 {
			calls = append(calls, &scriptCall{script: scriptIndexRemove, keys: []string{key}, args: []any{entryBytes, opAt, ops}})
		}
	}
	return s.runBatches(ctx, calls)
}

// repairRows enters rows into the indexes that they are missing in.
func (s *repairStep) repairRows(ctx context.Context, refs []chunkID) error {
	var ids []string
	for _, x := range refs {
		if !slices.Contains(ids, x.op) {
			ids = append(ids, x.op)
		}
	}
	ops, err := s.operations(ctx, ids)
	if err != nil {
		return err
	}
	byID := map[string]Operation{}
	for _, op := range ops {
		byID[op.ID] = op
	}
	refs = slices.DeleteFunc(refs, func(x chunkID) bool { return byID[x.op].ID == "" }) // removed a moment ago
	shown, err := s.evidenceOf(ctx, refs)
	if err != nil {
		return err
	}
	failures, err := s.failuresIn(ctx, shown)
	if err != nil {
		return err
	}
	rows, names := indexWrites{}, indexWrites{}
	for ref, e := range shown {
		op := byID[ref.op]
		for _, d := range e.Desktops {
			rows.add(op, ref.chunk, d.ID)
			names.addRow(op, ref.chunk, d)
			if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
				names.addNames(op, ref.chunk, d.Pinned...)
				names.addNames(op, ref.chunk, failures[tasks.DesktopRef{OperationID: op.ID, DesktopID: d.ID}].DesktopName)
			}
		}
		err := eachBefore(e.Raw, func(position int, b tasks.Before) {
			if position < len(e.Desktops) {
				if d := e.Desktops[position]; op.Done() || d.State == tasks.StateFailed || d.State == tasks.StateHeld {
					names.addReading(op, ref.chunk, d, b)
				}
			}
		})
		if err != nil {
			s.cursor.unreadable++
		}
	}
	return s.enterRows(ctx, rows, names)
}

// evidenceOf reads those chunks that can be read.
func (s *repairStep) evidenceOf(ctx context.Context, refs []chunkID) (map[chunkID]Evidence, error) {
	out := make(map[chunkID]Evidence, len(refs))
	all, err := s.evidence(ctx, refs)
	if err == nil {
		for i, e := range all {
			out[refs[i]] = e
		}
		return out, nil
	}
	if err := s.rdb.Ping(ctx).Err(); err != nil || len(refs) == 1 {
		s.cursor.unreadable++
		return out, err
	}
	for _, ref := range refs {
		one, err := s.evidenceOf(ctx, []chunkID{ref})
		if err != nil {
			return nil, err
		}
		maps.Copy(out, one)
	}
	return out, nil
}

// failuresIn reads the failures of rows that failed or are held.
func (s *repairStep) failuresIn(ctx context.Context, shown map[chunkID]Evidence) (map[tasks.DesktopRef]tasks.Failure, error) {
	var refs []tasks.DesktopRef
	for x, e := range shown {
		for _, d := range e.Desktops {
			if d.State == tasks.StateFailed || d.State == tasks.StateHeld {
				refs = append(refs, tasks.DesktopRef{OperationID: x.op, DesktopID: d.ID})
			}
		}
	}
	out := map[tasks.DesktopRef]tasks.Failure{}
	all, err := s.failuresNamed(ctx, refs)
	for _, f := range all {
		out[tasks.DesktopRef{OperationID: f.OperationID, DesktopID: f.DesktopID}] = f
	}
	return out, err
}

// enterRows adds what is missing in the indexes of rows.
func (s *repairStep) enterRows(ctx context.Context, rows, names indexWrites) error {
	missingRows, n, err := s.missing(ctx, s.keys.history, rows)
	if err != nil {
		return err
	}
	missingNames, m, err := s.missing(ctx, s.keys.named, names)
	if err != nil {
		return err
	}
	logs, err := s.missingLogs(ctx, names)
	if err != nil {
		return err
	}
	calls := append(missingRows.calls(s.keys.history), missingNames.calls(s.keys.named)...)
	if err := s.runBatches(ctx, append(logs, calls...)); err != nil {
		return err
	}
	s.repairs.add(RepairedIndex, n+m)
	return nil
}

// missing gives those of some entries whose chunks an index does not have, and how
// many there are.
func (s *repairStep) missing(ctx context.Context, key index, w indexWrites) (out indexWrites, n int, err error) {
	type asked struct {
		call          *scriptCall
		place, bucket int
		entry         []byte
	}
	calls := bucketCalls{script: scriptIndexFind, first: []any{entryBytes}}
	var all []asked
	for bucket, entries := range w {
		for e := range slices.Chunk(entries, entryBytes) {
			c, place := calls.add(bucket, key(bucket), e[:hashBytes])
			all = append(all, asked{c, place, bucket, e})
		}
	}
	if err := s.runBatches(ctx, calls.all); err != nil {
		return nil, 0, err
	}
	out = indexWrites{}
	for _, x := range all {
		found, err := x.call.reply.StringSlice()
		if err != nil || x.place >= len(found) {
			return nil, 0, fmt.Errorf("reading an index: unexpected reply %.100q: %w", found, err)
		}
		wanted, have := parseEntries(string(x.entry))[0], map[int]bool{}
		for _, e := range parseEntries(found[x.place]) {
			for chunk := e.chunk; e.op == wanted.op && chunk <= e.last; chunk++ {
				have[chunk] = true
			}
		}
		for chunk := wanted.chunk; chunk <= wanted.last; chunk++ {
			if !have[chunk] {
				out[x.bucket] = append(out[x.bucket], x.entry...)
				n++
				break
			}
		}
	}
	return out, n, nil
}

// missingLogs appends to operations' logs what they lack of the entries that there
// are or will be.
func (s *repairStep) missingLogs(ctx context.Context, names indexWrites) ([]*scriptCall, error) {
	logs := names.log(0)
	ids := slices.Sorted(maps.Keys(logs))
	if len(ids) == 0 {
		return nil, nil
	}
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.GetRange(ctx, s.keys.logged(id), 0, -1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []*scriptCall
	for i, id := range ids {
		known := buckets{map[int]bool{}, map[int]bool{}}
		known.addLogged([]byte(cmds[i].(*redis.StringCmd).Val()))
		var add []byte
		for b := range slices.Chunk(logs[id], 2) {
			if !known.names[int(binary.BigEndian.Uint16(b))] {
				add = append(add, b...)
			}
		}
		if len(add) > 0 {
			out = append(out, &scriptCall{args: []any{"APPEND", s.keys.logged(id), add}})
		}
	}
	return out, nil
}

// repairRedrives lists redrives, and those that have not ended among the open ones.
func (s *repairStep) repairRedrives(ctx context.Context, ids []string) error {
	cmds, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.HMGet(ctx, s.keys.redrive(id), redriveFields...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing := entries{}
	for i, id := range ids {
		var v storedRedrive
		var x Redrive
		if cmds[i].(*redis.SliceCmd).Scan(&v) != nil || decodeJSON(v.Meta, &x) != nil {
			continue
		}
		if s.now.Sub(x.CreatedAt) < s.retention {
			missing.add(s.keys.redrives(), x.CreatedAt.UnixMilli(), id)
		}
		if v.Ended.IsZero() {
			missing.add(s.keys.openRedrives(), x.CreatedAt.UnixMilli(), id)
		}
	}
	return s.enter(ctx, map[RepairKind]entries{RepairedRedrive: missing})
}
