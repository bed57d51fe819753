package record_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func (b *bundle) listed(f tasks.OperationFilter, at time.Time, size int) (ids []string) {
	b.t.Helper()
	f.Now = at
	for token := ""; ; {
		ops, next, err := b.r.Operations(b.t.Context(), f, size, token)
		require.NoError(b.t, err)
		for _, op := range ops {
			ids = append(ids, op.ID)
		}
		if token = next; token == "" {
			return ids
		}
	}
}

// What is due later starts then, unless it is said to start at another time.
func scheduled(t *testing.T, b *bundle) {
	due, other := b.now.Add(5*time.Hour), b.now.Add(7*time.Hour)
	for name, x := range map[string]struct {
		ask                  tasks.Request
		start, due, deadline time.Time
	}{
		"nothing":    {tasks.Request{}, time.Time{}, b.now, b.now.Add(24 * time.Hour)},
		"due":        {tasks.Request{DueAt: due}, due, due, due.Add(24 * time.Hour)},
		"due past":   {tasks.Request{DueAt: b.now.Add(-time.Hour)}, time.Time{}, b.now.Add(-time.Hour), b.now.Add(24 * time.Hour)},
		"start":      {tasks.Request{NotBefore: other}, other, other, other.Add(24 * time.Hour)},
		"both":       {tasks.Request{DueAt: due, NotBefore: other}, other, due, other.Add(24 * time.Hour)},
		"due, later": {tasks.Request{DueAt: other, NotBefore: due}, due, other, due.Add(24 * time.Hour)},
		"at once":    {tasks.Request{DueAt: due, AtOnce: true}, time.Time{}, due, b.now.Add(24 * time.Hour)},
		"deadline":   {tasks.Request{DueAt: due, Deadline: other}, due, due, other},
	} {
		x.ask.Desktops = []string{"d"}
		op := b.operation(b.enqueue(x.ask).ID)
		require.Equal(t, []time.Time{x.start, x.due, x.deadline}, []time.Time{op.NotBefore, op.DueAt, op.Deadline}, name)
		state := tasks.OperationRunning
		if !x.start.IsZero() {
			state = tasks.OperationScheduled
			require.Equal(t, tasks.OperationScheduled, op.State(x.start.Add(-1)), name)
			require.Equal(t, tasks.OperationRunning, op.State(x.start), name)
		}
		require.Equal(t, state, op.State(b.now), name)
		_, _, err := b.r.Cancel(t.Context(), op, b.now, "jo")
		require.NoError(t, err)
		require.Equal(t, tasks.OperationFinished, b.operation(op.ID).State(b.now), "%s: cancelled before its start", name)
	}
}

// What is due before a time is listed by that, whether it has started or not, until it has
// finished.
func dueLists(t *testing.T, b *bundle) {
	b.now = b.now.Truncate(24 * time.Hour).Add(12 * time.Hour)
	at := func(hours int) time.Time { return b.now.Add(time.Duration(hours) * time.Hour) }
	late := b.enqueue(tasks.Request{Desktops: []string{"late"}, DueAt: at(-1)})
	var coming []string
	for n := range 5 { // the last that is accepted is due first
		coming = append([]string{b.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("c", n)}, DueAt: at(9 - n)}).ID}, coming...)
	}
	started := b.enqueue(tasks.Request{Desktops: []string{"s"}, DueAt: at(11), AtOnce: true, Ticket: "T"})
	b.enqueue(tasks.Request{Desktops: []string{"tomorrow"}, DueAt: at(12)})
	b.enqueue(tasks.Request{Desktops: []string{"starts-today"}, NotBefore: at(1), DueAt: at(13)})
	elsewhere := b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"x"}, DueAt: at(2)})
	f := tasks.OperationFilter{DueBefore: at(12)}
	want := append([]string{late.ID, elsewhere.ID}, append(coming, started.ID)...)
	for size := 1; size < 10; size++ {
		require.Equal(t, want, b.listed(f, b.now, size))
	}
	hq, branch := b.stats(b.now)
	require.Equal(t, 7, hq.DueToday, "without the late one, with the one that starts today")
	require.Equal(t, 1, branch.DueToday)
	_, _, err := b.r.Cancel(t.Context(), b.operation(coming[0]), b.now, "jo")
	require.NoError(t, err)
	f.Project = "hq"
	require.Equal(t, append(append([]string{late.ID}, coming[1:]...), started.ID), b.listed(f, b.now, 3))
	f.Ticket = "T"
	require.Equal(t, []string{started.ID}, b.listed(f, b.now, 3))
	hq, _ = b.stats(b.now)
	require.Equal(t, 6, hq.DueToday)
}

// Scheduled operations are listed apart, the next first, page by page, until they start.
func scheduledLists(t *testing.T, b *bundle) {
	running := b.enqueue(tasks.Request{Desktops: []string{"r"}})
	var later []string
	for n := range 5 { // the last that is accepted starts first
		b.now = b.now.Add(time.Second)
		op := b.enqueue(tasks.Request{Desktops: []string{fmt.Sprint("s", n)}, DueAt: b.now.Add(time.Hour - time.Duration(n)*time.Minute), Ticket: fmt.Sprint(n % 2)})
		later = append([]string{op.ID}, later...)
	}
	elsewhere := b.enqueue(tasks.Request{Project: "branch", Desktops: []string{"x"}, NotBefore: b.now.Add(3 * time.Hour)})
	f := tasks.OperationFilter{Scheduled: true}
	require.Equal(t, append(later[:5:5], elsewhere.ID), b.listed(f, b.now, 2))
	require.Equal(t, []string{running.ID}, b.listed(tasks.OperationFilter{Open: true}, b.now, 2), "it is not under way")
	require.Empty(t, b.listed(tasks.OperationFilter{Open: true, Scheduled: true}, b.now, 2))
	f.Project = "branch"
	require.Equal(t, []string{elsewhere.ID}, b.listed(f, b.now, 2))
	f = tasks.OperationFilter{Scheduled: true, Project: "hq", Ticket: "1"}
	require.Equal(t, []string{later[1], later[3]}, b.listed(f, b.now, 2))
	f = tasks.OperationFilter{Scheduled: true, From: b.now.Add(-time.Second)}
	require.Equal(t, []string{later[0], later[1], elsewhere.ID}, b.listed(f, b.now, 2), "by when they were accepted")
	f = tasks.OperationFilter{Scheduled: true, To: b.now}
	require.Equal(t, later[1:], b.listed(f, b.now, 2))
	started := b.operation(later[0]).NotBefore
	require.Equal(t, append(later[1:5:5], elsewhere.ID), b.listed(tasks.OperationFilter{Scheduled: true}, started, 2))
	require.ElementsMatch(t, []string{later[0], running.ID}, b.listed(tasks.OperationFilter{Open: true}, started, 2))

	ended := b.enqueue(tasks.Request{Desktops: []string{"c"}, NotBefore: b.now.Add(time.Hour)})
	b.step(ended, 0, tasks.StateQueued, tasks.StateCancelled) // and nobody has closed it yet
	require.NotContains(t, b.listed(tasks.OperationFilter{Scheduled: true}, b.now, 2), ended.ID)
	require.NotContains(t, b.listed(tasks.OperationFilter{Open: true}, b.now.Add(2*time.Hour), 2), ended.ID)
	_, _, err := b.r.Cancel(t.Context(), b.operation(elsewhere.ID), b.now, "jo")
	require.NoError(t, err)
	require.Equal(t, later, b.listed(tasks.OperationFilter{Scheduled: true}, b.now, 2))
	for _, key := range []string{":scheduled", ":scheduled:branch"} {
		require.ErrorIs(t, b.rdb.ZScore(t.Context(), b.prefix+key, elsewhere.ID).Err(), redis.Nil, "what ended leaves the index")
	}
}

// More scheduled operations than a page looks at do not hide what is under way.
func scheduledHideNothing(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: []string{"a"}})
	var open, later []redis.Z
	for n := range 9_000 {
		id := fmt.Sprintf("later-%d", n)
		open = append(open, redis.Z{Score: float64(b.now.Add(time.Minute).UnixMilli()), Member: id})
		later = append(later, redis.Z{Score: -float64(b.now.Add(time.Hour).UnixMilli()), Member: id})
	}
	for n := range 10_001 { // those that Stats would read first
		id := fmt.Sprintf("earlier-%d", n)
		open = append(open, redis.Z{Score: float64(b.now.Add(-time.Minute).UnixMilli()), Member: id})
		later = append(later, redis.Z{Score: -float64(b.now.Add(time.Hour).UnixMilli()), Member: id})
	}
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":open", open...).Err())
	require.NoError(t, b.rdb.ZAdd(t.Context(), b.prefix+":scheduled", later...).Err())
	hq, _ := b.stats(b.now)
	require.False(t, hq.Partial)
	require.Equal(t, 1, hq.Counts.Queued)
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{Open: true, Now: b.now}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1, "within one page")
	require.Equal(t, op.ID, ops[0].ID)
}

// The same request is answered although its times have passed by then; another is
// not accepted under its key, and what is bad at any time is refused.
func replayAfterItsTime(t *testing.T, b *bundle) {
	req := tasks.Request{Project: "hq", Desktops: []string{"a"}, NotBefore: b.now.Add(time.Hour), Deadline: b.now.Add(2 * time.Hour), RequestedBy: "hr", IdempotencyKey: "k"}
	op, err := b.p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	accepted := b.now
	for _, now := range []time.Time{accepted.Add(time.Hour + 1), accepted.Add(48 * time.Hour)} {
		b.now = now
		req.NotBefore = req.NotBefore.In(time.FixedZone("", 8*3600)) // the same instant
		got, err := b.p.Enqueue(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, op.ID, got.ID)
		other := req
		other.Reason = "another"
		_, err = b.p.Enqueue(t.Context(), other)
		require.ErrorIs(t, err, tasks.ErrKeyReused)
		bad := req
		bad.Desktops = []string{""}
		var invalid *tasks.ValidationError
		_, err = b.p.Enqueue(t.Context(), bad)
		require.ErrorAs(t, err, &invalid)
		for _, key := range []string{"", "new"} {
			fresh := req
			fresh.IdempotencyKey = key
			_, err = b.p.Enqueue(t.Context(), fresh)
			require.ErrorAs(t, err, &invalid, "a new one is refused")
		}
	}
	ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
}

// No time runs before the start, and nothing is overdue before it.
func removalOfTheScheduled(t *testing.T, b *bundle) {
	accepted := b.now
	for name, x := range map[string]struct {
		due, start   time.Duration // after the acceptance
		since, taken time.Duration // proven 10 minutes after the start
	}{
		"due":                 {due: time.Hour, start: time.Hour, since: 10 * time.Minute, taken: 10 * time.Minute},
		"due before a start":  {due: time.Hour, start: 5 * time.Hour, since: 10 * time.Minute, taken: 10 * time.Minute},
		"start before due":    {due: 2*time.Hour + 4*time.Minute, start: 2 * time.Hour, since: 6 * time.Minute, taken: 10 * time.Minute},
		"due before all that": {due: -time.Hour, start: time.Hour, since: 10 * time.Minute, taken: 10 * time.Minute},
	} {
		b.now = accepted
		op := b.enqueue(tasks.Request{Desktops: []string{"a", "b"}, DueAt: accepted.Add(x.due), NotBefore: accepted.Add(x.start)})
		got, err := b.r.Removal(t.Context(), b.operation(op.ID), 0, accepted.Add(x.start))
		require.NoError(t, err)
		require.Zero(t, got.Overdue, name)
		b.now = accepted.Add(x.start + 10*time.Minute)
		all := b.moves(op, 0, tasks.StateQueued, tasks.StateDetached)
		all.Moves = all.Moves[:1]
		_, err = b.r.Apply(t.Context(), b.now, []record.Change{all})
		require.NoError(t, err)
		got, err = b.r.Removal(t.Context(), b.operation(op.ID), 0, accepted.Add(x.start+x.due.Abs()+time.Hour))
		require.NoError(t, err)
		require.Equal(t, x.since, got.Worst, name)
		require.Equal(t, x.taken, got.SinceAccepted.Worst, name)
		require.Equal(t, 1, got.Overdue, name)
	}
}
