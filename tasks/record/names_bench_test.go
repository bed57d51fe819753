package record

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// BenchmarkNames adds users to the list of a project: those of a large operation, in order, and
// some at a time to a list of 100,000.
func BenchmarkNames(b *testing.B) {
	server := redistest.Start(b)
	rdb := server.Client(b)
	r := New(rdb, Config{Prefix: "bench"})
	now := time.Now()
	add := func(b *testing.B, n int) {
		b.Helper()
		w := newNameWrites()
		op := Operation{Operation: tasks.Operation{Project: "hq", AcceptedAt: now, Deadline: now.Add(time.Hour)}}
		for range n {
			w.addText(op, userName, fmt.Sprintf("user-%08x.%04x", rand.Uint32(), rand.N(1<<16)))
		}
		require.NoError(b, r.runBatches(b.Context(), r.listCalls(w)))
	}
	for _, x := range []struct {
		name     string
		had, new int
	}{{"large", 0, 10_000}, {"larger", 100_000, 10_000}, {"some", 100_000, 10}} {
		b.Run(x.name, func(b *testing.B) {
			require.NoError(b, rdb.FlushAll(b.Context()).Err())
			add(b, x.had)
			before := server.CPU(b)
			for b.Loop() {
				add(b, x.new)
			}
			b.ReportMetric(float64((server.CPU(b)-before).Nanoseconds())/float64(b.N*x.new), "redis-ns/name")
		})
	}
}
