package record_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/tasks/trail"
)

// auditLog reads the whole log, the latest first, in pages.
func (b *bundle) auditLog(f tasks.AuditFilter, size int) (out []tasks.AuditEvent) {
	b.t.Helper()
	for token := ""; ; {
		page, next, err := b.r.AuditLog(b.t.Context(), f, size, token)
		require.NoError(b.t, err)
		require.LessOrEqual(b.t, len(page), size)
		if out = append(out, page...); next == "" {
			return out
		}
		token = next
	}
}

// checked holds entries against their chain.
func checked(events []tasks.AuditEvent) error {
	var c trail.LogCheck
	for _, e := range events {
		if err := c.Add(record.AuditEntry(e)); err != nil {
			return err
		}
	}
	return nil
}

// Many goroutines of many processes append at once: each entry is in the log once, numbers
// have no gap and the chain holds.
func auditAtOnce(t *testing.T, b *bundle) {
	const processes, goroutines, each = 4, 8, 10
	var all errgroup.Group
	for p := range processes {
		r := b.producer().Record
		for g := range goroutines {
			all.Go(func() error {
				for n := range each {
					want := fmt.Sprintf("%d-%d-%d", p, g, n)
					e, err := r.AppendAudit(t.Context(), tasks.AuditEvent{At: b.now.Add(time.Duration(n) * time.Millisecond), Action: tasks.AuditPlanCreated, Target: want})
					if err != nil || e.Target != want || e.Seq == 0 || len(e.Hash) != 64 {
						return fmt.Errorf("%+v: %w", e, err)
					}
				}
				return nil
			})
		}
	}
	require.NoError(t, all.Wait())
	events := b.auditLog(tasks.AuditFilter{}, 7)
	require.Len(t, events, processes*goroutines*each)
	targets := map[string]bool{}
	for i, e := range events {
		require.Equal(t, int64(len(events)-i), e.Seq)
		targets[e.Target] = true
	}
	require.Len(t, targets, len(events))
	require.NoError(t, checked(events))
}

// Each byte of each entry in Redis is covered by the chain.
func auditAltered(t *testing.T, b *bundle) {
	for n := range 3 {
		_, err := b.r.AppendAudit(t.Context(), tasks.AuditEvent{At: b.now, Action: tasks.AuditKeyRevoked, Owner: "zoe", Reason: fmt.Sprint("left ", n)})
		require.NoError(t, err)
	}
	log := b.prefix + ":{audit}:log"
	entries := b.rdb.ZRangeWithScores(t.Context(), log, 0, -1).Val()
	require.Len(t, entries, 3)
	require.NoError(t, checked(b.auditLog(tasks.AuditFilter{}, 10)))
	wrong := func(why string) {
		t.Helper()
		require.Error(t, checked(b.auditLog(tasks.AuditFilter{}, 10)), why)
	}
	// The oldest, too: its own hash shows it.
	for i, z := range entries {
		member := z.Member.(string)
		require.NoError(t, b.rdb.ZRem(t.Context(), log, member).Err())
		if i == 1 {
			wrong("an entry was removed from the middle")
		}
		for at := range len(member) {
			altered := []byte(member)
			altered[at] ^= 1
			require.NoError(t, b.rdb.ZAdd(t.Context(), log, redis.Z{Score: z.Score, Member: string(altered)}).Err())
			wrong(string(altered))
			require.NoError(t, b.rdb.ZRem(t.Context(), log, string(altered)).Err())
		}
		require.NoError(t, b.rdb.ZAdd(t.Context(), log, z).Err())
	}
	require.NoError(t, checked(b.auditLog(tasks.AuditFilter{}, 10)))
	_, err := b.r.AppendAudit(t.Context(), tasks.AuditEvent{At: b.now, Action: tasks.AuditKeyRevoked})
	require.NoError(t, err)
	require.NoError(t, b.rdb.ZAdd(t.Context(), log, redis.Z{Score: entries[1].Score, Member: entries[1].Member.(string) + " "}).Err())
	wrong("an entry was added")
}

func auditPages(t *testing.T, b *bundle) {
	add := func(r *record.Record, e tasks.AuditEvent) tasks.AuditEvent {
		t.Helper()
		e, err := r.AppendAudit(t.Context(), e)
		require.NoError(t, err)
		return e
	}
	other := b.producer().Record
	var want []int64
	for n := range 60 {
		e := tasks.AuditEvent{At: b.now.Add(time.Duration(n/20) * time.Second), Action: tasks.AuditProjectPaused, KeyID: "dk_1", KeyName: "desk", Owner: "Ann Lee", Project: "hq", Target: "hq"}
		if n%3 == 0 {
			e.Action, e.KeyID, e.KeyName, e.Owner, e.Project, e.Target = tasks.AuditKeyCreated, "dk_2", "root", "Bo", "", "dk_9"
		}
		e = add([]*record.Record{b.r, other}[n%2], e)
		require.Equal(t, int64(n+1), e.Seq)
		want = append([]int64{e.Seq}, want...)
	}
	seqs := func(f tasks.AuditFilter, size int) (out []int64) {
		for _, e := range b.auditLog(f, size) {
			out = append(out, e.Seq)
		}
		return out
	}
	require.Equal(t, want, seqs(tasks.AuditFilter{}, 9))
	for _, f := range []tasks.AuditFilter{{Action: tasks.AuditKeyCreated}, {By: "dk_2"}, {By: "root"}, {By: "Bo"}, {Target: "dk_9"}} {
		got := seqs(f, 3)
		require.Len(t, got, 20)
		require.Equal(t, []int64{58, 55}, got[:2])
	}
	require.Empty(t, seqs(tasks.AuditFilter{By: "nobody"}, 3))
	require.Equal(t, want[20:40], seqs(tasks.AuditFilter{From: b.now.Add(time.Second), To: b.now.Add(2 * time.Second)}, 6))
	_, _, err := b.r.AuditLog(t.Context(), tasks.AuditFilter{}, 10, "nonsense")
	require.ErrorIs(t, err, tasks.ErrPageToken)

	// A process whose clock is late does not disturb the order.
	late := add(b.r, tasks.AuditEvent{At: b.now.Add(-time.Hour), Action: tasks.AuditPlanCreated})
	add(other, tasks.AuditEvent{At: b.now, Action: tasks.AuditPlanCreated})
	events := b.auditLog(tasks.AuditFilter{}, 10)
	require.Equal(t, late, events[1])
	require.NoError(t, checked(events))
}

// What is older than the retention goes, and the chain goes on from the last entry.
func auditExpires(t *testing.T, b *bundle) {
	add := func(at time.Time) {
		t.Helper()
		_, err := b.r.AppendAudit(t.Context(), tasks.AuditEvent{At: at, Action: tasks.AuditPlanCreated})
		require.NoError(t, err)
	}
	for range 3 {
		add(b.now)
	}
	_, err := b.r.Expire(t.Context(), b.now.Add(24*time.Hour), 10, 0)
	require.NoError(t, err)
	require.Len(t, b.auditLog(tasks.AuditFilter{}, 10), 3, "it is kept as long as operations are")
	_, err = b.r.Expire(t.Context(), b.now.Add(24*time.Hour+time.Millisecond), 10, 0)
	require.NoError(t, err)
	events := b.auditLog(tasks.AuditFilter{}, 10)
	require.Len(t, events, 1, "the next entry is chained to it")
	require.Equal(t, int64(3), events[0].Seq)
	require.NoError(t, checked(events))
	add(b.now.Add(30 * time.Hour))
	events = b.auditLog(tasks.AuditFilter{}, 10)
	require.Len(t, events, 1, "an append removes too")
	require.Equal(t, int64(4), events[0].Seq)
	require.NoError(t, checked(events))
}

func guards(t *testing.T, b *bundle) {
	got, err := b.r.Guards(t.Context(), "worker")
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, b.r.SetGuards(t.Context(), "worker", map[string]string{"a": "1", "b": "2"}))
	require.NoError(t, b.r.SetGuards(t.Context(), "worker", map[string]string{"a": "3"}))
	got, err = b.r.Guards(t.Context(), "worker")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "3"}, got)
}

// loses is a connection that loses the next reply to an append, after Redis has run it.
type loses struct {
	net.Conn
	armed *atomic.Bool
	sent  bool
}

func (c *loses) Write(b []byte) (int, error) {
	c.sent = c.sent || bytes.Contains(b, []byte("{audit}:log"))
	return c.Conn.Write(b)
}

func (c *loses) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.sent && c.armed.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// When a reply is lost, the client of Redis sends the entry again: it is in the log once.
func TestAuditReplyIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBundle(t, server.Client(t))
	var armed atomic.Bool
	addr := server.Client(t).(*redis.Client).Options().Addr
	rdb := redis.NewClient(&redis.Options{Addr: addr, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &loses{Conn: c, armed: &armed}, err
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	r := record.New(rdb, record.Config{Prefix: b.prefix})
	for n := range 4 {
		armed.Store(n%2 == 1)
		e, err := r.AppendAudit(t.Context(), tasks.AuditEvent{At: b.now, Action: tasks.AuditPlanCreated})
		require.NoError(t, err)
		require.False(t, armed.Load())
		require.Equal(t, int64(n+1), e.Seq)
	}
	events := b.auditLog(tasks.AuditFilter{}, 10)
	require.Len(t, events, 4)
	require.NoError(t, checked(events))
}

// Without Redis an append fails, and goes on from the last entry afterwards.
func TestAuditWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBundle(t, server.Client(t))
	add := func() error {
		_, err := b.r.AppendAudit(t.Context(), tasks.AuditEvent{At: b.now, Action: tasks.AuditPlanCreated})
		return err
	}
	require.NoError(t, add())
	require.NoError(t, b.rdb.Do(t.Context(), "config", "set", "maxmemory", "1").Err())
	require.ErrorContains(t, add(), "OOM")
	require.NoError(t, b.rdb.Do(t.Context(), "config", "set", "maxmemory", "0").Err())
	require.NoError(t, add())
	server.Stop()
	require.Error(t, add())
	require.NoError(t, server.Restart())
	require.NoError(t, add())
	require.NoError(t, checked(b.auditLog(tasks.AuditFilter{}, 10)))
}
