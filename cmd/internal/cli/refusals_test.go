package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redisfault"
	"github.com/detachd/detachd/tasks/redistest"
)

var redisLine = regexp.MustCompile(`(?m)^redis: .*$`)

// onRedis has the configuration name another Redis.
func (s *stage) onRedis(t *testing.T, line string) {
	t.Helper()
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.config, redisLine.ReplaceAll(text, []byte(line)), 0o600))
}

// refusing is a Redis that takes commands until refuse is called.
type refusing struct {
	line   string // of the configuration
	refuse func(t *testing.T)
}

// tells has a server told to refuse.
func tells(commands ...[]any) func(t *testing.T) refusing {
	return func(t *testing.T) refusing {
		server := redistest.Start(t)
		return refusing{fmt.Sprintf("redis: {url: %q}", server.URL()), telling(server, commands...)}
	}
}

func telling(server *redistest.Server, commands ...[]any) func(t *testing.T) {
	return func(t *testing.T) {
		c := server.Client(t) // one connection, which stays signed in
		for _, command := range commands {
			require.NoError(t, c.Do(t.Context(), command...).Err(), "%v", command)
		}
	}
}

// asUser is tells with a user that may do all at first.
func asUser(commands ...[]any) func(t *testing.T) refusing {
	return func(t *testing.T) refusing {
		server := redistest.Start(t)
		telling(server, []any{"ACL", "SETUSER", "bob", "on", ">" + redisPassword, "~*", "&*", "+@all"})(t)
		line := fmt.Sprintf("redis: {url: %q, username: bob, password: {env: REDIS_PASSWORD}}", server.URL())
		return refusing{line, telling(server, commands...)}
	}
}

func withoutDisk(t *testing.T) refusing {
	dir := filepath.Join(t.TempDir(), "redis")
	require.NoError(t, os.Mkdir(dir, 0o755))
	server, err := redistest.Run(dir, "--appendonly", "no", "--save", "3600 1")
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return refusing{fmt.Sprintf("redis: {url: %q}", server.URL()), func(t *testing.T) {
		require.NoError(t, os.RemoveAll(dir))
		telling(server, []any{"SET", "x", "y"}, []any{"BGSAVE"})(t)
		require.Eventually(t, func() bool { return server.Client(t).Set(t.Context(), "x", "y", 0).Err() != nil }, time.Minute, 20*time.Millisecond)
	}}
}

func withoutSlots(t *testing.T) refusing {
	server := redistest.StartCluster(t)
	line := fmt.Sprintf("redis: {url: %q}", "redis+cluster://"+server.Addr())
	return refusing{line, telling(server, []any{"CLUSTER", "DELSLOTSRANGE", 0, 16383})}
}

// notNamed is one node of a Cluster that the configuration does not name as one.
func notNamed(t *testing.T) refusing {
	set := redistest.StartSharded(t)
	owner, err := set.Primary(t.Context(), "detachd:probe")
	require.NoError(t, err)
	for _, n := range set.Nodes {
		if n != owner {
			return refusing{line: fmt.Sprintf("redis: {url: %q}", n.URL())}
		}
	}
	t.Fatal("there is one node")
	return refusing{}
}

func noCluster(t *testing.T) refusing {
	return refusing{line: fmt.Sprintf("redis: {url: %q}", "redis+cluster://"+redistest.Start(t).Addr())}
}

// answering is what answers every command with the same error, as a server does that
// loads for long.
func answering(reply string) func(t *testing.T) refusing {
	return func(t *testing.T) refusing {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				all.Go(func() {
					defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
					defer func() { _ = conn.Close() }()
					for r := bufio.NewReader(conn); readCommand(r) == nil; {
						if _, err := io.WriteString(conn, "-"+reply+"\r\n"); err != nil {
							return
						}
					}
				})
			}
		})
		t.Cleanup(func() { cancel(); _ = l.Close(); all.Wait() })
		return refusing{line: fmt.Sprintf("redis: {url: %q}", "redis://"+l.Addr().String())}
	}
}

// readCommand reads an array of bulk strings.
func readCommand(r *bufio.Reader) error {
	number := func(begins string) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), begins))
	}
	n, err := number("*")
	for ; err == nil && n > 0; n-- {
		var size int
		if size, err = number("$"); err == nil {
			_, err = r.Discard(size + len("\r\n"))
		}
	}
	return err
}

// Whatever Redis refuses for, the command line says what it means and what to do, with
// the exit code, and the server answers 503 with the row's code and Retry-After; it is
// alive and not ready.
func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	for code, redis := range map[string]func(t *testing.T) refusing{
		"redis_out_of_memory":    tells([]any{"CONFIG", "SET", "maxmemory", "1"}),
		"redis_too_few_replicas": tells([]any{"CONFIG", "SET", "min-replicas-to-write", "1"}),
		"redis_read_only":        tells([]any{"REPLICAOF", "127.0.0.1", "1"}),
		"redis_primary_down":     answering("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
		"redis_no_password":      tells([]any{"CONFIG", "SET", "requirepass", "another"}, []any{"CLIENT", "KILL", "TYPE", "normal"}),
		"redis_wrong_password":   asUser([]any{"ACL", "SETUSER", "bob", "resetpass", ">another"}, []any{"CLIENT", "KILL", "USER", "bob"}),
		"redis_no_permission":    asUser([]any{"ACL", "SETUSER", "bob", "-@write"}),
		"redis_cannot_persist":   withoutDisk,
		"redis_cluster_down":     withoutSlots,
		"redis_is_cluster":       notNamed,
		"redis_is_no_cluster":    noCluster,
		"redis_loading":          answering("LOADING Redis is loading the dataset in memory"),
		"redis_script_runs":      answering("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
		"redis_too_many_clients": answering("ERR max number of clients reached"),
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			row := redisfault.ByCode(code)
			require.NotNil(t, row)
			s := newStage(t)
			known := s.withKey(t) // of a Redis that answers, to have one that looks like one
			there := redis(t)
			s.onRedis(t, there.line)
			if there.refuse != nil {
				known = s.withKey(t)
				require.Equal(t, http.StatusOK, known.get(t, "/readyz").status)
				s.detached(t, "d0")
				there.refuse(t)
			} else {
				known.url = s.serveOnly(t)
			}

			exit := exitInternal
			if row.Rights {
				exit = exitNotAuthorised
			}
			s.refused(t, exit, row.Meaning, "detach", "d1", "--project", "hq")
			s.refused(t, exit, "next: "+row.Advice, "detach", "d1", "--project", "hq")

			require.Equal(t, http.StatusOK, known.get(t, "/healthz").status)
			var ready reply
			// On a busy machine a Redis that refuses may look for a while like one that does not answer.
			require.Eventually(t, func() bool { ready = known.get(t, "/readyz"); return strings.Contains(ready.body, code) }, time.Minute, 50*time.Millisecond, ready)
			known.refusedWith(t, ready, row)
			if code == "redis_is_cluster" {
				return // where keys are is by chance
			}
			known.refusedWith(t, known.post(t, "/v1/operations", `{"project":"hq","desktops":["d1"]}`), row)
			remote := &stage{key: known.key, env: map[string]string{"DETACHD_SERVER": known.url, "DETACHD_API_KEY": known.key, "USER": "jo"}}
			remote.refused(t, exitInternal, row.Advice, "detach", "d1", "--project", "hq")
			remote.refused(t, exitInternal, "503 "+code, "detach", "d1", "--project", "hq")
		})
	}
}

// remoteServer is a server and a key for it.
type remoteServer struct{ url, key string }

// withKey serves the configured Redis, and makes a key.
func (s *stage) withKey(t *testing.T) remoteServer {
	t.Helper()
	served := s.here(t)
	served.serve(t)
	return remoteServer{served.url, served.key}
}

type reply struct {
	status     int
	retryAfter string
	body       string
}

func (r remoteServer) get(t *testing.T, path string) reply {
	t.Helper()
	return r.do(t, http.MethodGet, path, "")
}

func (r remoteServer) post(t *testing.T, path, body string) reply {
	t.Helper()
	return r.do(t, http.MethodPost, path, body)
}

func (r remoteServer) do(t *testing.T, method, path, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header.Get("Retry-After"), string(text)}
}

func (r remoteServer) refusedWith(t *testing.T, got reply, row *redisfault.Fault) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	require.Equal(t, row.Code, decodeOne(t, got.body)["code"])
	require.Contains(t, got.body, row.Meaning)
	require.Equal(t, strconv.Itoa(int(row.RetryAfter.Seconds())), got.retryAfter)
	require.NotContains(t, got.body, "127.0.0.1", "nothing of the inside is told")
}
