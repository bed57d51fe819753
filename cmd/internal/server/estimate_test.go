package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// gate lets the commands that read the open operations pass only while it is open.
type gate struct {
	open  chan struct{}
	asked chan struct{}
}

func (g gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "zrange" && strings.HasSuffix(fmt.Sprint(cmd.Args()[1]), ":open") {
			g.asked <- struct{}{}
			<-g.open
		}
		return next(ctx, cmd)
	}
}

// No request waits while what estimates depend on is read again; one that has nothing else, or
// something older than a minute, does.
func TestEstimatesAreReadBesideRequests(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now } })
	ahead := func() float64 {
		list := b.do(b.key[access.Viewer], "GET", "/v1/operations?ticket=last", "").json(t)["items"].([]any)
		e, _ := list[0].(map[string]any)["estimate"].(map[string]any)
		require.NotNil(t, e)
		return e["ahead"].(float64)
	}
	b.create(`{"project":"hq","desktops":["d1"]}`)
	pass(time.Second)
	b.create(`{"project":"hq","desktops":["d2"],"ticket":"last"}`)
	require.EqualValues(t, 1, ahead())
	pass(time.Second)
	b.create(`{"project":"branch","desktops":["d3"],"urgent":true}`)

	g := gate{open: make(chan struct{}), asked: make(chan struct{}, 10)}
	b.store.Redis.AddHook(g)
	require.EqualValues(t, 1, ahead())
	require.Empty(t, g.asked, "it is new enough")
	pass(aheadAge)
	require.EqualValues(t, 1, ahead(), "the reading has begun and does not end")
	<-g.asked
	require.EqualValues(t, 1, ahead())
	require.Empty(t, g.asked, "one reading at a time")
	close(g.open)
	require.Eventually(t, func() bool { return ahead() == 2 }, time.Minute, time.Millisecond)

	pass(time.Second)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf(`"m%d"`, i))
	}
	b.create(`{"project":"hq","urgent":true,"desktops":[` + strings.Join(many, ",") + `]}`)
	pass(aheadOldest)
	require.EqualValues(t, 3, ahead(), "it waited for the reading")
	<-g.asked
}
