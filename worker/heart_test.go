package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// ofStart marks the context of Start. startHook counts what Start asks of Redis, and what of it must
// be answered by a time of our own.
type (
	ofStart   struct{}
	startHook struct{ asked, hurried atomic.Int64 }
)

func (h *startHook) count(ctx context.Context) {
	if ctx.Value(ofStart{}) == nil {
		return
	}
	h.asked.Add(1)
	if _, has := ctx.Deadline(); has {
		h.hurried.Add(1)
	}
}

func (h *startHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *startHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.count(ctx)
		return next(ctx, cmd)
	}
}

func (h *startHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.count(ctx)
		return next(ctx, cmds)
	}
}

// A Redis that is slow when a worker starts is waited for, as long as the client waits for it.
func TestStartWaitsForRedis(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	w, hook := s.worker(), &startHook{}
	s.rdb.AddHook(hook)
	require.NoError(t, w.Start(context.WithValue(t.Context(), ofStart{}, true)))
	t.Cleanup(w.Stop)
	require.Positive(t, hook.asked.Load())
	require.Zero(t, hook.hurried.Load())
}
