package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

type stub struct{ d time.Duration }

func (s stub) Detach(ctx context.Context, r apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	time.Sleep(s.d)
	return &apiclient.DetachResult{Status: 200}, nil
}
func (stub) Desktops(context.Context, []string) ([]apiclient.Desktop, error) { return nil, nil }

func TestSmoke(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:7999"})
	require.NoError(t, rdb.FlushAll(t.Context()).Err())
	w, err := New(Config{Redis: rdb, ID: "w1", Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Projects: []Project{{Alias: "hq", API: stub{50 * time.Millisecond}}}})
	require.NoError(t, err)
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	run := func(n, ops int) {
		var last []string
		t0 := time.Now()
		for o := range ops {
			ids := make([]string, n)
			for i := range ids {
				ids[i] = fmt.Sprintf("%08d-0000-4000-8000-%012d", o, i)
			}
			op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids})
			require.NoError(t, err)
			last = append(last, op.ID)
		}
		t.Log("enqueue", time.Since(t0))
		t0 = time.Now()
		require.NoError(t, w.Start(t.Context()))
		for _, id := range last {
			for {
				op, err := p.Record.Operation(t.Context(), id)
				require.NoError(t, err)
				if op.Done() {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		t.Log("done", time.Since(t0))
		op, _ := p.Record.Operation(t.Context(), last[0])
		t.Logf("%+v", op)
		calls, _ := p.Record.Calls(t.Context(), last[0])
		t.Log(len(calls))
		t.Log(rdb.Info(t.Context(), "commandstats").Val())
	}
	run(100000, 1)
	w.Stop()
}
