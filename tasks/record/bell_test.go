package record

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// bells runs a test of a record on miniredis, a Redis and a Cluster.
func bells(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient, r *Record)) {
	for name, client := range map[string]func(t *testing.T) redis.UniversalClient{
		"miniredis": func(t *testing.T) redis.UniversalClient { return redistest.Mini(t) },
		"redis":     func(t *testing.T) redis.UniversalClient { return redistest.Start(t).Client(t) },
		"cluster":   func(t *testing.T) redis.UniversalClient { return redistest.StartCluster(t).ClusterClient(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := client(t)
			test(t, rdb, New(rdb, Config{}))
		})
	}
}

// A listener hears every ring after its position, whoever else listens, and a ring ends a
// wait.
func TestEverybodyHearsEveryRing(t *testing.T) {
	t.Parallel()
	bells(t, func(t *testing.T, _ redis.UniversalClient, r *Record) {
		at := time.UnixMilli(1_800_000_000_123)
		begin, err := r.BellSince(t.Context(), RingHeard)
		require.NoError(t, err)
		want := []Ring{{Project: "hq", Queue: UrgentQueue}, {Project: "branch", Queue: BulkQueue, At: at}, {Project: "hq"}, {}}
		require.NoError(t, r.Ring(t.Context(), want[:2]...))
		require.NoError(t, r.Ring(t.Context(), want[2:]...))
		var next string
		for range 2 {
			var got []Ring
			got, next, err = r.Hear(t.Context(), begin, time.Minute)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		none, same, err := r.Hear(t.Context(), next, time.Millisecond)
		require.NoError(t, err)
		require.Empty(t, none)
		require.Equal(t, next, same)

		heard := make(chan []Ring)
		go func() {
			got, _, _ := r.Hear(context.WithoutCancel(t.Context()), next, time.Minute)
			heard <- got
		}()
		require.NoError(t, r.Ring(t.Context(), Ring{Project: "hq", Queue: SmallQueue}))
		require.Equal(t, []Ring{{Project: "hq", Queue: SmallQueue}}, <-heard)
	})
}

// A ring is skipped only if workers that heard the last one serve the project until then.
func TestRingsThatAreSkipped(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	now := time.Unix(1_800_000_000, 0)
	later, sooner := now.Add(2*time.Hour), now.Add(time.Hour)
	type chunk struct {
		after   time.Duration // since the last
		project string
		queue   Queue
		at      time.Time
		skipped bool // out
	}
	for name, chunks := range map[string][]chunk{
		"urgent always":   {{queue: UrgentQueue}, {queue: UrgentQueue}, {queue: BulkQueue, skipped: true}, {queue: UrgentQueue}},
		"soon again":      {{queue: BulkQueue}, {queue: SmallQueue, skipped: true}, {queue: BulkQueue, after: RingLasts - 1, skipped: true}},
		"not prolonged":   {{queue: BulkQueue}, {queue: BulkQueue, after: RingLasts - 1, skipped: true}, {queue: BulkQueue, after: 1}},
		"other project":   {{queue: BulkQueue}, {queue: BulkQueue, project: "branch"}},
		"later than now":  {{queue: BulkQueue}, {queue: BulkQueue, at: later, skipped: true}},
		"later than that": {{queue: BulkQueue, at: sooner}, {queue: BulkQueue, at: later, skipped: true}},
		"sooner":          {{queue: BulkQueue, at: later}, {queue: BulkQueue, at: sooner}, {queue: BulkQueue}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := now
			r := New(rdb, Config{Prefix: name})
			b := &ringer{record: r, now: func() time.Time { return now }, last: map[string]rung{}}
			var want []Ring
			for _, c := range chunks {
				now = now.Add(c.after)
				b.ring(t.Context(), c.project+"hq", c.queue, c.at)
				if !c.skipped {
					want = append(want, Ring{c.project + "hq", c.queue, c.at})
				}
			}
			got, _, err := r.Hear(t.Context(), "0", time.Minute)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

// A ring that Redis did not take is repeated with the next chunk.
func TestARingThatFailedIsRepeated(t *testing.T) {
	t.Parallel()
	r := New(redistest.Mini(t), Config{})
	b := &ringer{record: r, now: time.Now, last: map[string]rung{}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	b.ring(ended, "hq", BulkQueue, time.Time{})
	b.ring(t.Context(), "hq", BulkQueue, time.Time{})
	got, _, err := r.Hear(t.Context(), "0", time.Minute)
	require.NoError(t, err)
	require.Len(t, got, 1)
}

// Due finds the first work of a project, whatever kind it is.
func TestDue(t *testing.T) {
	t.Parallel()
	bells(t, func(t *testing.T, rdb redis.UniversalClient, r *Record) {
		soon, late := time.Unix(1_900_000_000, 0), time.Unix(2_000_000_000, 0)
		seconds := func(at time.Time) redis.Z { return redis.Z{Score: float64(at.Unix()), Member: at.String()} }
		queued := func(alias string, q Queue) string { return "asynq:{" + r.QueueName(alias, q) + "}:" }
		var projects []string
		for alias, add := range map[string]func(alias string) error{
			"scheduled": func(alias string) error {
				return rdb.ZAdd(t.Context(), queued(alias, UrgentQueue)+"scheduled", seconds(late), seconds(soon)).Err()
			},
			"retry": func(alias string) error {
				return rdb.ZAdd(t.Context(), queued(alias, BulkQueue)+"retry", seconds(soon)).Err()
			},
			"follow": func(alias string) error {
				z := redis.Z{Score: float64(soon.UnixMilli()), Member: "op:0"}
				return rdb.ZAdd(t.Context(), r.keys.follow(alias), z).Err()
			},
		} {
			require.NoError(t, add(alias))
			projects = append(projects, alias)
		}
		for _, q := range []Queue{UrgentQueue, SmallQueue, BulkQueue} {
			alias := "pending in " + string(q)
			require.NoError(t, rdb.LPush(t.Context(), queued(alias, q)+"pending", "task").Err())
			require.NoError(t, rdb.ZAdd(t.Context(), queued(alias, q)+"retry", seconds(soon)).Err())
			projects = append(projects, alias)
		}
		for len(projects) < dueBatch {
			projects = append(projects, "idle")
		}
		projects = append(projects, "retry", "idle")
		got, err := r.Due(t.Context(), projects)
		require.NoError(t, err)
		for _, alias := range projects {
			require.Contains(t, got, alias)
			waits := 0
			if strings.HasPrefix(alias, "pending") {
				waits = 1
			}
			require.Equal(t, waits, got[alias].Waiting, alias)
			switch due := got[alias].Due; alias {
			case "idle":
				require.True(t, due.IsZero())
			case "scheduled", "retry", "follow":
				require.True(t, due.Equal(soon), "%s: %s", alias, due)
			default:
				require.False(t, due.IsZero(), alias)
				require.True(t, due.Before(time.Now()), alias)
			}
		}
	})
}
