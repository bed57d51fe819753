package schedules_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/schedules"
	"github.com/detachd/detachd/tasks"
)

// counter is a hook that counts round trips and the commands in them, without the polls, which
// are each one round trip with one command.
type counter struct{ trips, commands atomic.Int64 }

func (*counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.trips.Add(1)
		c.commands.Add(1)
		return next(ctx, cmd)
	}
}
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) != 1 || script(cmds[0]) != "poll" {
			c.trips.Add(1)
			c.commands.Add(int64(len(cmds)))
		}
		return next(ctx, cmds)
	}
}

// A process that waits costs one round trip with one command each second, and a tick a fixed
// number, whether there are 10 schedules or 10,000.
func TestCost(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			many := make([]tasks.Schedule, n)
			for i := range many {
				many[i] = every(tasks.Schedule{Name: fmt.Sprint("s-", i), Cron: "0 0 1 1 *", Overlap: tasks.OverlapAllow})
			}
			many[0].Cron = "* * * * *"
			s := newEnv(t, many...)
			cost := &counter{}
			s.tickerOf(s.producer(0, &wrongClock{s}, cost), "worker", func(c *schedules.Config) {
				c.Lease = time.Hour // a slow machine does not renew it
			})
			s.eventually(func() bool { return s.polls.Load() > 2 }, "it does not start")
			s.tick("s-0") // scripts are known, and the protections
			s.polled(1)

			trips, commands := cost.trips.Load(), cost.commands.Load()
			s.polled(3)
			require.Equal(t, trips, cost.trips.Load(), "idle, in round trips besides the polls")
			run := s.tick("s-0")
			s.polled(1)
			trips, commands = cost.trips.Load()-trips, cost.commands.Load()-commands
			require.Equal(t, tasks.RunStarted, run.Result)
			t.Logf("a tick that makes an operation costs %d round trips, %d commands", trips, commands)
			require.LessOrEqual(t, trips, int64(12))
			require.LessOrEqual(t, commands, int64(20))
		})
	}
}
