package worker_test

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// refusedPerSecond is what a worker may have Redis refuse of its queues' commands, over
// all queues; refusedAtOnce, what may be on its way when it begins: each script of each
// queue once, four times where go-redis sends again by itself.
const (
	refusedPerSecond = 20
	refusedAtOnce    = 100
)

var errorCount = regexp.MustCompile(`(?m)^errorstat_([^:]+):count=(\d+)`)

// refusals counts the errors that Redis has answered, of any kind but those that belong
// to a healthy worker.
func refusals(t *testing.T, admin redis.UniversalClient) int {
	t.Helper()
	text, err := admin.Info(t.Context(), "errorstats").Result()
	require.NoError(t, err)
	sum := 0
	for _, m := range errorCount.FindAllStringSubmatch(text, -1) {
		if m[1] == "NOSCRIPT" || m[1] == "NOT" {
			continue
		}
		n, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		sum += n
	}
	return sum
}

// Whatever it is that Redis refuses for, a worker that waits for work does not answer with a flood, and goes
// on by itself when it ends.
func TestRefusedDequeuesArePaced(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(context.Context, redis.UniversalClient) error {
		return func(ctx context.Context, c redis.UniversalClient) error { return c.ConfigSet(ctx, name, value).Err() }
	}
	do := func(args ...any) func(context.Context, redis.UniversalClient) error {
		return func(ctx context.Context, c redis.UniversalClient) error { return c.Do(ctx, args...).Err() }
	}
	for name, test := range map[string]struct {
		begin, end func(context.Context, redis.UniversalClient) error
	}{
		"no memory":       {set("maxmemory", "1"), set("maxmemory", "0")},
		"no replicas":     {set("min-replicas-to-write", "1"), set("min-replicas-to-write", "0")},
		"a replica":       {do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE")},
		"a missing right": {do("ACL", "SETUSER", "worker", "-evalsha", "-eval"), do("ACL", "SETUSER", "worker", "+evalsha", "+eval")},
		"a right missing in scripts": {
			do("ACL", "SETUSER", "worker", "-rpoplpush"), do("ACL", "SETUSER", "worker", "+rpoplpush"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			server := redistest.Start(t)
			admin := server.Client(t)
			require.NoError(t, admin.Do(ctx, "ACL", "SETUSER", "worker", "on", ">pw", "~*", "&*", "+@all").Err())
			// As in production: go-redis sends again what is refused for a while.
			c := redis.NewClient(&redis.Options{
				Addr: server.Addr(), Username: "worker", Password: "pw", DisableIdentity: true,
				MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			})
			t.Cleanup(func() { _ = c.Close() })
			s := newEnvOn(t, server, c, fakecloud.Config{})
			s.start(func(cfg *worker.Config) {
				more := cfg.Projects[0]
				more.Alias = "branch"
				cfg.Projects = append(cfg.Projects, more)
			})
			s.ended(s.enqueue(tasks.Request{Desktops: []string{"d-before"}}))

			require.NoError(t, test.begin(ctx, admin))
			before, begun := refusals(t, admin), time.Now()
			require.Eventually(t, func() bool { return refusals(t, admin) > before }, patience, 5*time.Millisecond)
			require.Eventually(t, func() bool { return time.Since(begun) > 3*time.Second }, patience, 50*time.Millisecond)
			n, took := refusals(t, admin)-before, time.Since(begun)
			t.Logf("%d refused in %s", n, took)
			require.LessOrEqual(t, n, int(refusedPerSecond*took.Seconds())+refusedAtOnce)
			require.Contains(t, s.log.String(), "Redis refuses the queues' commands")

			require.NoError(t, test.end(ctx, admin))
			s.ended(s.enqueue(tasks.Request{Desktops: []string{"d-after"}}))
			require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "accepts the queues' commands again") }, patience, 10*time.Millisecond)

			// In the middle of work, what is in hand is written until it is taken.
			busy := s.enqueue(tasks.Request{Desktops: ids(1000)})
			require.NoError(t, test.begin(ctx, admin))
			before = refusals(t, admin)
			require.Eventually(t, func() bool { return refusals(t, admin) > before }, patience, 5*time.Millisecond)
			require.NoError(t, test.end(ctx, admin))
			s.ended(busy)
		})
	}
}
