package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// on configures a stage for a redis-server that wants the stage's password of nobody.
func (s *stage) on(t *testing.T, url string) {
	t.Helper()
	s.configure(t, "unused", s.cloud.URL)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	before, after, ok := strings.Cut(string(text), `{url: "redis://unused/0", password: {env: REDIS_PASSWORD}}`)
	require.True(t, ok)
	require.NoError(t, os.WriteFile(s.config, []byte(before+`{url: "`+url+`"}`+after), 0o600))
}

// keysOf lists all keys.
func keysOf(t *testing.T, rdb redis.UniversalClient) (keys []string) {
	t.Helper()
	all := rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for all.Next(t.Context()) {
		keys = append(keys, all.Val())
	}
	require.NoError(t, all.Err())
	return keys
}

// What doctor tries out is gone when it ends, whatever kind of Redis it is.
func TestDoctorTriesOutAndCleansUp(t *testing.T) {
	t.Parallel()
	replicated := redistest.Start(t)
	redistest.StartReplica(t, replicated, replicated.Addr())
	for kind, c := range map[string]struct {
		server *redistest.Server
		url    string
		levels map[string]string
	}{
		"one server": {server: redistest.Start(t)},
		"a replica":  {server: replicated, levels: map[string]string{"redis wait": "ok"}},
		"a Cluster":  {server: redistest.StartCluster(t), url: "redis+cluster://", levels: map[string]string{"redis cluster": "ok"}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			if c.url == "" {
				c.url = "redis://"
			}
			s.on(t, c.url+c.server.Addr())
			levels := s.levels(t, exitOK)
			for _, check := range []string{"redis claims", "redis limits", "redis bell", "redis queue", "redis channel", "redis clean-up"} {
				require.Equal(t, "ok", levels[check], check)
			}
			for check, want := range c.levels {
				require.Equal(t, want, levels[check], check)
			}
			require.Empty(t, keysOf(t, c.server.Client(t)))
			members, err := c.server.Client(t).SMembers(t.Context(), "asynq:queues").Result()
			require.NoError(t, err)
			require.Empty(t, members)
		})
	}
}

// Where nothing could move doctor is red, with exit code 3, and says why.
func TestDoctorIsRedWhereNothingCouldMove(t *testing.T) {
	t.Parallel()
	set := func(args ...any) func(*testing.T, *redistest.Server) {
		return func(t *testing.T, s *redistest.Server) {
			require.NoError(t, s.Client(t).Do(t.Context(), args...).Err())
		}
	}
	acl := func(rules ...any) func(*testing.T, *redistest.Server) {
		return set(append([]any{"ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all"}, rules...)...)
	}
	withoutSlots := func(t testing.TB) *redistest.Server {
		s, err := redistest.Run(t.TempDir(), "--cluster-enabled", "yes")
		require.NoError(t, err)
		t.Cleanup(s.Kill)
		return s
	}
	for name, c := range map[string]struct {
		start  func(testing.TB) *redistest.Server
		spoil  func(*testing.T, *redistest.Server)
		url    string
		checks []string // that are bad
		cause  string
	}{
		"no memory":               {spoil: set("CONFIG", "SET", "maxmemory", "1"), checks: []string{"redis memory", "redis claims", "redis queue"}, cause: "OOM"},
		"a replica":               {spoil: set("REPLICAOF", "127.0.0.1", "1"), checks: []string{"redis replicas", "redis claims", "redis limits", "redis queue"}, cause: "READONLY"},
		"too few replicas":        {spoil: set("CONFIG", "SET", "min-replicas-to-write", "1"), checks: []string{"redis claims", "redis queue"}, cause: "NOREPLICAS"},
		"no scripts":              {spoil: acl("-eval", "-evalsha"), checks: []string{"redis claims", "redis limits", "redis queue"}, cause: "NOPERM"},
		"a command":               {spoil: acl("-lpush"), checks: []string{"redis queue"}, cause: "can't run this command"},
		"a command to take tasks": {spoil: acl("-rpoplpush"), checks: []string{"redis queue"}, cause: "can't run this command"},
		"a command to ring":       {spoil: acl("-xadd"), checks: []string{"redis bell"}, cause: "NOPERM"},
		"a command to hear":       {spoil: acl("-xread"), checks: []string{"redis bell"}, cause: "NOPERM"},
		"a channel to listen to":  {spoil: acl("-subscribe"), checks: []string{"redis queue"}, cause: "NOPERM"},
		"keys of asynq":           {spoil: acl("resetkeys", "~detachd:*"), checks: []string{"redis queue"}, cause: "NOPERM"},
		"the channel":             {spoil: acl("resetchannels"), checks: []string{"redis channel"}, cause: "NOPERM"},
		"not even the time":       {spoil: acl("-time"), checks: []string{"redis"}, cause: "NOPERM"},
		"a disk that is away": {
			start: func(t testing.TB) *redistest.Server {
				dir := filepath.Join(t.TempDir(), "redis")
				require.NoError(t, os.Mkdir(dir, 0o700))
				s, err := redistest.Run(dir, "--appendonly", "no", "--save", "3600 1")
				require.NoError(t, err)
				t.Cleanup(s.Kill)
				return s
			},
			spoil: func(t *testing.T, s *redistest.Server) {
				rdb := s.Client(t)
				dir, err := rdb.ConfigGet(t.Context(), "dir").Result()
				require.NoError(t, err)
				require.NoError(t, os.RemoveAll(dir["dir"]))
				require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err())
				require.NoError(t, rdb.BgSave(t.Context()).Err())
				require.Eventually(t, func() bool { return rdb.Set(context.Background(), "k", "v", 0).Err() != nil }, time.Minute, 10*time.Millisecond)
			},
			checks: []string{"redis claims", "redis queue"}, cause: "MISCONF",
		},
		"a Cluster without slots":           {start: withoutSlots, url: "redis+cluster://", checks: []string{"redis"}, cause: "cluster has no nodes"},
		"a node of a Cluster without slots": {start: withoutSlots, checks: []string{"redis claims", "redis queue"}, cause: "CLUSTERDOWN"},
		"a Cluster that misses some of them": {
			start: redistest.StartCluster, url: "redis+cluster://", checks: []string{"redis cluster", "redis claims", "redis queue"}, cause: "CLUSTERDOWN",
			spoil: func(t *testing.T, s *redistest.Server) {
				rdb := s.Client(t)
				require.NoError(t, rdb.ClusterDelSlotsRange(t.Context(), 0, 0).Err())
				require.Eventually(t, func() bool { return rdb.Set(context.Background(), "k", "v", 0).Err() != nil }, time.Minute, 10*time.Millisecond)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.start == nil {
				c.start = redistest.Start
			}
			server := c.start(t)
			s := newStage(t)
			if c.url == "" {
				c.url = "redis://"
			}
			s.on(t, c.url+server.Addr())
			if c.spoil != nil {
				c.spoil(t, server)
			}
			findings := map[string]map[string]any{}
			for _, f := range s.json(t, exitFailed, "doctor")["findings"].([]any) {
				f := f.(map[string]any)
				findings[f["check"].(string)] = f
			}
			causes := ""
			for _, check := range c.checks {
				require.Equal(t, "bad", findings[check]["level"], "%s: %v", check, findings)
				require.NotEmpty(t, findings[check]["next"])
				causes += findings[check]["message"].(string)
			}
			require.Contains(t, causes, c.cause)
		})
	}
}

// refusesKeys is a server that lets scripts touch only keys that they were given as
// KEYS, as Dragonfly does.
type refusesKeys struct{}

func (refusesKeys) DialHook(next redis.DialHook) redis.DialHook { return next }

func (refusesKeys) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name == "eval" || name == "evalsha" {
			args := cmd.Args()
			for _, arg := range args[3+args[2].(int):] {
				if text, _ := arg.(string); strings.HasPrefix(text, "asynq:{") {
					err := errors.New("ERR Error running script (call to f_1): @user_script:1: script tried accessing undeclared key")
					cmd.SetErr(err)
					return err
				}
			}
		}
		return next(ctx, cmd)
	}
}

func (refusesKeys) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestDoctorNamesAServerWithoutKeysOfScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.on(t, redistest.Start(t).URL())
	st := s.store(t)
	st.Redis.AddHook(refusesKeys{})
	fs := findings{OK: true}
	rehearse(t.Context(), st, &fs)
	require.False(t, fs.OK)
	var bads []string
	for _, f := range fs.All {
		if f.Level == bad {
			bads = append(bads, f.Check)
			require.Contains(t, f.Message, "asynq")
			require.Contains(t, f.Next, "allow-undeclared-keys")
		}
	}
	require.Equal(t, []string{"redis queue"}, bads)
}
