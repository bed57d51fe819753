package record_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// BenchmarkApply moves the 100 rows of a chunk to and fro: all together, each on its
// own, and each on its own with a refusal.
func BenchmarkApply(b *testing.B) {
	server := redistest.Start(b)
	rdb := server.Client(b)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p, err := record.NewProducer(rdb, record.ProducerConfig{
		Projects: []string{"hq"}, Record: record.Config{Prefix: "bench", Retention: time.Hour}, Now: func() time.Time { return now },
	})
	require.NoError(b, err)
	for _, bb := range []struct {
		name    string
		refused func(n int) bool // in the nth change
	}{
		{"together", func(int) bool { return false }},
		{"alone", func(n int) bool { return n == 0 }},
		{"refused", func(n int) bool { return n%2 == 1 }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			op, err := p.Enqueue(b.Context(), tasks.Request{Project: "hq", Desktops: ids(record.ChunkSize)})
			require.NoError(b, err)
			c, err := p.Record.Chunk(b.Context(), op.ID, 0)
			require.NoError(b, err)
			rows := c.Desktops
			before := server.CPU(b)
			for n := 0; b.Loop(); n++ {
				ch := record.Change{Operation: op, By: "worker-1"}
				to := []tasks.State{tasks.StateSending, tasks.StateQueued}[n%2]
				for _, d := range rows {
					m := record.Move{Desktop: d, To: to, Attempts: 1, CallID: "d4k2m0h5tq3s7g8p9v20"}
					if bb.refused(n) {
						m.Failure = &tasks.Failure{
							Code: "WKS.00030021", Message: "The desktop is being used by \"somebody\".", Class: "transient", Status: 409,
							RequestID: "3e0c1b7f7d5a4d1d9a2a5a3c1f0b9e8d", CallID: m.CallID, Attempts: 1, At: now,
						}
					}
					ch.Moves = append(ch.Moves, m)
				}
				done, err := p.Record.Apply(b.Context(), now, []record.Change{ch})
				if err != nil {
					b.Fatal(err)
				}
				rows = done[0].Desktops
			}
			b.ReportMetric(float64((server.CPU(b)-before).Nanoseconds())/float64(b.N), "redis-ns/op")
		})
	}
}
