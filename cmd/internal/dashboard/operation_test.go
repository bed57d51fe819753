package dashboard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// hashReads counts how often each hash was read.
type hashReads struct {
	mu    sync.Mutex
	times map[string]int
}

func (*hashReads) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *hashReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.count(cmd)
		return next(ctx, cmd)
	}
}

func (h *hashReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.count(cmds...)
		return next(ctx, cmds)
	}
}

func (h *hashReads) count(cmds ...redis.Cmder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cmd := range cmds {
		if name := cmd.Name(); name == "hgetall" || name == "hmget" {
			h.times[fmt.Sprint(cmd.Args()[1])]++
		}
	}
}

// of returns how often keys with a suffix were read.
func (h *hashReads) of(end string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, times := range h.times {
		if strings.HasSuffix(key, end) {
			n += times
		}
	}
	return n
}

// The page of an operation refreshes every two seconds. It reads the operation twice,
// once for its list, a third time for the calls of a small one, and each row once, plus those it lists. It reads all rows of a
// large operation only on request.
func TestOperationPageReadsLittle(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session := s.session(access.Viewer)
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("d-%05d", i))
		}
		return out
	}
	small := s.submit(api.OperationRequest{Project: "hq", Desktops: many(1000)})
	large := s.submit(api.OperationRequest{Project: "hq", Desktops: many(10_001)})
	reads := &hashReads{times: map[string]int{}}
	s.rdb.AddHook(reads)
	for _, page := range []struct {
		path, last string // and the operation's last chunk
		computed   bool
	}{
		{"/operations/" + small.ID, ":c:9", true},
		{"/operations/" + large.ID, ":c:100", false},
		{"/operations/" + large.ID + "?removal=1", ":c:100", true},
	} {
		clear(reads.times)
		a := s.get(page.path, session)
		require.Equal(t, 200, a.status)
		require.Equal(t, page.computed, strings.Contains(a.body, "Overdue, not confirmed"), page.path)
		require.Equal(t, !page.computed, strings.Contains(a.body, "Show times"), page.path)
		// The estimate reads what is ahead, once in five seconds: two operations.
		alone := map[bool]int{true: 3, false: 2}[page.path == "/operations/"+small.ID]
		require.Contains(t, []int{alone, alone + 2}, reads.of(":op"), page.path)
		require.Equal(t, map[bool]int{true: 1}[page.computed], reads.of(page.last), page.path)
	}
}

// The list says of each operation that has something to send how long it takes.
func TestListOfOperationsHasEstimates(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1"}})
	body := s.get("/operations", s.session(access.Viewer)).body
	require.Contains(t, body, `title="less than a minute at 3000 calls a minute, once a worker runs">less than a minute</span>`)
}
