package redisfault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks/redisfault"
	"github.com/detachd/detachd/tasks/redistest"
)

// reply is an error as go-redis gives it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// What Redis 6 and 7, products that behave like it, go-redis and asynq say.
func TestOf(t *testing.T) {
	t.Parallel()
	const sha = "f925a4332f65470c27bb373f3448d9fe63e6779c"
	for text, code := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'.":                                                                      "redis_out_of_memory",
		"OOM command not allowed when used memory > 'maxmemory'. script: " + sha + ", on @user_script:1.":                              "redis_out_of_memory",
		"ERR Error running script (call to f_" + sha + "): @user_script:1: @user_script: 1: -OOM command not allowed when used memory": "redis_out_of_memory",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.":                             "redis_cannot_persist",
		"MISCONF Errors writing to the AOF file: No space left on device":                                                              "redis_cannot_persist",
		"CLUSTERDOWN Hash slot not served":                                                                                             "redis_cluster_down",
		"TRYAGAIN Multiple keys request during rehashing of slot":                                                                      "redis_cluster_down",
		"LOADING Redis is loading the dataset in memory":                                                                               "redis_loading",
		"READONLY You can't write against a read only replica.":                                                                        "redis_read_only",
		"READONLY You can't write against a read only replica. script: " + sha + ", on @user_script:1.":                                "redis_read_only",
		"ERR READONLY You can't write against a read only replica":                                                                     "redis_read_only",
		"-READONLY You can't write against a read only replica.":                                                                       "redis_read_only",
		"ERR Error running script (call to f_" + sha + "): @user_script:1: -READONLY You can't write against a read only replica.":     "redis_read_only",
		"ERR Error running script (call to f_" + sha + "): READONLY You can't write against a read only replica":                       "redis_read_only",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":                                             "redis_primary_down",
		"NOREPLICAS Not enough good replicas to write.":                                                                                "redis_too_few_replicas",
		"NOAUTH Authentication required.":                                                                                              "redis_no_password",
		"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option":     "redis_no_password",
		"WRONGPASS invalid username-password pair or user is disabled.":                                                                "redis_wrong_password",
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?": "redis_wrong_password",
		"NOPERM this user has no permissions to run the 'set' command":                                                                 "redis_no_permission",
		"ERR The user executing the script can't run this command or subcommand script: " + sha + ", on @user_script:1.":               "redis_no_permission",
		"ERR ACL failure in script: User bob has no permissions to run the 'set' command":                                              "redis_no_permission",
		"MOVED 3999 127.0.0.1:6381":                                                              "redis_is_cluster",
		"ASK 3999 127.0.0.1:6381":                                                                "redis_is_cluster",
		"CROSSSLOT Keys in request don't hash to the same slot":                                  "redis_is_cluster",
		"ERR This instance has cluster support disabled":                                         "redis_is_no_cluster",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "redis_script_runs",
		"ERR max number of clients reached":                                                      "redis_too_many_clients",

		"NOSCRIPT No matching script. Please use EVAL.":                                       "",
		"WRONGTYPE Operation against a key holding the wrong kind of value":                   "",
		"BUSYGROUP Consumer Group name already exists":                                        "",
		"ERR unknown command 'ASK', with args beginning with: 'OOM' 'READONLY'":               "",
		"ERR the operation is being removed, send it again later":                             "",
		"ERR Error running script (call to f_" + sha + "): @user_script:1: user_script:1: no": "",
		"redis: nil": "",
		"":           "",
	} {
		err := error(reply(text))
		for how, err := range map[string]error{
			"as it is": err, "wrapped": fmt.Errorf("accepting: %w", err), "joined": errors.Join(errors.New("first"), err),
			"by asynq": fmt.Errorf("enqueueing: %w", errors.New("INTERNAL_ERROR: redis eval error: "+text)),
		} {
			if how == "by asynq" && (text == "" || text == "redis: nil") {
				continue
			}
			require.Equal(t, code, codeOf(err), "%s: %s", how, text)
		}
		// Anybody's text is not Redis'.
		if code != "redis_no_primary" {
			require.Empty(t, codeOf(errors.New(text)), text)
		}
	}
}

func codeOf(err error) string {
	if f := redisfault.Of(err); f != nil {
		return f.Code
	}
	return ""
}

func TestOfTheWayToRedis(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	sentinels := "redis: all sentinels specified in configuration are unreachable: %w"
	for _, test := range []struct {
		err  error
		code string
	}{
		{refused, redisfault.Away},
		{fmt.Errorf("reading: %w", io.EOF), redisfault.Away},
		{io.ErrUnexpectedEOF, redisfault.Away},
		{redis.ErrPoolTimeout, redisfault.Away},
		{context.DeadlineExceeded, redisfault.Away},
		{errors.New("UNKNOWN: redis eval error: dial tcp 127.0.0.1:1: connect: connection refused"), redisfault.Away},
		{errors.New("UNKNOWN: redis eval error: EOF"), redisfault.Away},
		{errors.New("UNKNOWN: redis eval error: context deadline exceeded"), redisfault.Away},
		{errors.New("redis: cluster has no nodes"), "redis_cluster_down"},
		{fmt.Errorf(sentinels, errors.Join(refused, refused)), "redis_no_primary"},
		{fmt.Errorf(sentinels, errors.Join(redis.Nil)), "redis_no_primary"},
		{fmt.Errorf(sentinels, errors.Join(refused, reply("WRONGPASS invalid"))), "redis_wrong_password"},
		{errors.Join(refused, reply("OOM no")), "redis_out_of_memory"},

		{nil, ""},
		{redis.Nil, ""},
		{context.Canceled, ""},
		{fmt.Errorf("reading: %w", context.Canceled), ""},
		{errors.New("UNKNOWN: redis eval error: context canceled"), ""},
		{errors.New("something else"), ""},
	} {
		require.Equal(t, test.code, codeOf(test.err), "%v", test.err)
	}
}

// Whatever stands around a reply that begins with a row's word, the row is found.
func TestOfAnyReply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"OOM", "MISCONF", "READONLY", "LOADING", "MASTERDOWN", "NOPERM", "CLUSTERDOWN"}).Draw(t, "word")
		want := codeOf(reply(word + " x"))
		require.NotEmpty(t, want)
		before := rapid.SampledFrom([]string{"", "-", "ERR ", "ERR -", "ERR Error running script (call to f_1): @user_script:7: -"}).Draw(t, "before")
		err := error(reply(before + word + " " + rapid.String().Draw(t, "after")))
		for range rapid.IntRange(0, 4).Draw(t, "wraps") {
			err = fmt.Errorf("doing: %w", err)
		}
		require.Equal(t, want, codeOf(err))
	})
}

// Every row can be understood and acted upon, and its code is one of its own.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range redisfault.All() {
		require.Regexp(t, regexp.MustCompile(`^redis_[a-z_]+$`), f.Code)
		require.False(t, seen[f.Code], f.Code)
		seen[f.Code] = true
		require.NotEmpty(t, f.Meaning, f.Code)
		require.NotEmpty(t, f.Advice, f.Code)
		require.False(t, strings.HasSuffix(f.Meaning+f.Advice, "."), "it is put into a sentence: %s", f.Code)
		require.GreaterOrEqual(t, f.RetryAfter, time.Second, f.Code)
		require.False(t, f.Rights && f.Passes, "rights do not come by themselves: %s", f.Code)
		require.Equal(t, f.Code, redisfault.ByCode(f.Code).Code)
	}
	require.Nil(t, redisfault.ByCode("redis_tea"))
}

// What a real server says when it refuses: to a command, and to the same in a script
// that is called by its digest.
func TestOfRealServers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	set := redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1])`)
	refuses := func(t *testing.T, c redis.UniversalClient, code string) {
		t.Helper()
		for how, err := range map[string]error{
			"SET": c.Set(ctx, "k", "v", 0).Err(), "EVALSHA": c.EvalSha(ctx, set.Hash(), []string{"k"}, "v").Err(),
		} {
			require.Error(t, err, how)
			require.Equal(t, code, codeOf(err), "%s: %v", how, err)
		}
	}
	known := func(t *testing.T, s *redistest.Server) redis.UniversalClient {
		c := s.Client(t)
		require.NoError(t, set.Load(ctx, c).Err())
		return c
	}
	t.Run("a single server", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		c := known(t, s)
		with := func(name, value, usual, code string) {
			require.NoError(t, c.ConfigSet(ctx, name, value).Err())
			refuses(t, c, code)
			require.NoError(t, c.ConfigSet(ctx, name, usual).Err())
			require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
		}
		with("maxmemory", "1", "0", "redis_out_of_memory")
		with("min-replicas-to-write", "1", "0", "redis_too_few_replicas")
		require.NoError(t, c.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
		refuses(t, c, "redis_read_only")
		require.NoError(t, c.Do(ctx, "REPLICAOF", "NO", "ONE").Err())

		require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "bob", "on", ">x", "~*", "&*", "+@all", "-set").Err())
		as := func(user, password string) redis.UniversalClient {
			o := redistest.Options(s.Addr())
			o.Username, o.Password = user, password
			as := redis.NewClient(o)
			t.Cleanup(func() { _ = as.Close() })
			return as
		}
		refuses(t, as("bob", "x"), "redis_no_permission")
		refuses(t, as("bob", "y"), "redis_wrong_password")
		require.NoError(t, c.ConfigSet(ctx, "requirepass", "secret").Err())
		refuses(t, as("", ""), "redis_no_password")
	})
	t.Run("a disk that is away", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "redis")
		require.NoError(t, os.Mkdir(dir, 0o755))
		s, err := redistest.Run(dir, "--appendonly", "no", "--save", "3600 1")
		require.NoError(t, err)
		t.Cleanup(s.Kill)
		c := known(t, s)
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
		require.NoError(t, c.BgSave(ctx).Err())
		require.Eventually(t, func() bool { return c.Set(ctx, "k", "v", 0).Err() != nil }, time.Minute, 10*time.Millisecond)
		refuses(t, c, "redis_cannot_persist")
	})
	t.Run("a Cluster", func(t *testing.T) {
		t.Parallel()
		s, err := redistest.Run(t.TempDir(), "--cluster-enabled", "yes")
		require.NoError(t, err)
		t.Cleanup(s.Kill)
		c := s.Client(t)
		require.NoError(t, set.Load(ctx, c).Err())
		refuses(t, c, "redis_cluster_down")

		whole := redistest.StartCluster(t).Client(t)
		require.Equal(t, "redis_is_cluster", codeOf(set.Run(ctx, whole, []string{"a", "b"}, "v").Err()))
		single := redistest.Start(t).ClusterClient(t)
		require.Equal(t, "redis_is_no_cluster", codeOf(single.Set(ctx, "k", "v", 0).Err()))
	})
}
