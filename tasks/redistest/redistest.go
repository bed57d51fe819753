// Package redistest starts real redis-servers for tests and benchmarks: single, behind
// Sentinels, or as a Cluster, each on a free loopback port with its own directory and an
// append-only file as in production. Proxy makes one slow, hang or unreachable. Mini is a
// miniredis for tests that need no real server.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Server is a running redis-server.
type Server struct {
	dir  string
	more []string // additional arguments
	conf string   // a configuration file instead of the default arguments
	bus  int      // port for the other nodes of a Cluster
	port int
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

// Run starts a redis-server with its files in dir and additional arguments, and returns when
// it answers. The caller stops it.
func Run(dir string, more ...string) (*Server, error) {
	s := &Server{dir: dir, more: more}
	if err := s.startSomewhere(func() error { return nil }); err != nil {
		return nil, err
	}
	return s, nil
}

// startSomewhere starts the server on a free port. prepare is called first and may write the
// port into a file.
func (s *Server) startSomewhere(prepare func() error) (err error) {
	for range 5 { // another process may take the port in between
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = prepare(); err != nil {
			return err
		}
		if err = s.start(); err == nil {
			return nil
		}
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) start() error {
	log := filepath.Join(s.dir, "redis.log")
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--logfile", log,
	}
	if s.conf != "" {
		args = []string{s.conf}
	}
	s.cmd = exec.Command("redis-server", append(args, s.more...)...)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := s.cmd, make(chan struct{})
	s.gone = gone
	go func() { _ = cmd.Wait(); close(gone) }()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1})
	defer func() { _ = c.Close() }()
	for range 1000 {
		if c.Ping(context.Background()).Err() == nil && s.ours(c) {
			return nil
		}
		select {
		case <-gone:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("redis-server ended: %s", text)
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.Kill()
	return errors.New("redis-server does not answer")
}

// ours reports whether c is connected to s and not to another server on its port.
func (s *Server) ours(c *redis.Client) bool {
	info, err := c.InfoMap(context.Background(), "server").Result()
	return err == nil && info["Server"]["process_id"] == strconv.Itoa(s.cmd.Process.Pid)
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the address for a configuration.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Stop stops the server with SIGINT. It returns when the process has ended, and may be called
// again.
func (s *Server) Stop() { s.end(os.Interrupt) }

// Kill is Stop with SIGKILL, like a crash.
func (s *Server) Kill() { s.end(os.Kill) }

// Freeze stops the process with SIGSTOP, like a paused machine, until Thaw: connections stay
// open and new ones are accepted, but nothing is answered.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw resumes a frozen process.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

func (s *Server) end(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig) // fails if the process has ended already
	select {
	case <-s.gone:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.gone
	}
}

// Restart restarts the server on the same port with the data of its append-only file.
func (s *Server) Restart() error {
	s.Stop()
	return s.start()
}

// Start runs a redis-server for a test and ends it with the test; see Need.
func Start(t testing.TB) *Server {
	t.Helper()
	return startWith(t)
}

// StartCluster runs a Cluster of one node for a test. The node has every slot, but rejects
// commands that touch two.
func StartCluster(t testing.TB) *Server {
	t.Helper()
	s := startWith(t, "--cluster-enabled", "yes")
	node := s.Client(t)
	if err := node.ClusterAddSlotsRange(context.Background(), 0, 16383).Err(); err != nil {
		t.Fatalf("assigning the slots: %v", err)
	}
	for range 1000 {
		if info, err := node.ClusterInfo(context.Background()).Result(); err == nil && strings.Contains(info, "cluster_state:ok") {
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the Cluster is not ready in time")
	return nil
}

func startWith(t testing.TB, more ...string) *Server {
	t.Helper()
	Need(t)
	s, err := Run(t.TempDir(), more...)
	if err != nil {
		t.Fatalf("starting redis-server: %v", err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Need skips a test, or fails it, where there is no redis-server; see Missing.
func Need(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		Missing(t, "redis-server is not installed (on Debian: apt-get install redis-server, or `make test` as root)")
	}
}

// Missing skips a test because the machine lacks something, or fails it if the environment
// has DETACHD_TEST_REQUIRE=all, as in CI.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("DETACHD_TEST_REQUIRE") == "all" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// patient is the time-out of tests' clients: a busy machine must not look like an
// unreachable Redis.
const patient = 30 * time.Second

// Options returns options for tests' clients. They do not retry, because that would hide
// faults.
func Options(addr string) *redis.Options {
	return &redis.Options{Addr: addr, MaxRetries: -1, ReadTimeout: patient, WriteTimeout: patient}
}

// Client returns a client that is closed with the test.
func (s *Server) Client(t testing.TB) redis.UniversalClient {
	c := redis.NewClient(Options(s.Addr()))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ClusterClient returns a Cluster client that is closed with the test.
func (s *Server) ClusterClient(t testing.TB) redis.UniversalClient {
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr()}, ReadTimeout: patient, WriteTimeout: patient})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// CPU is how long the server has computed so far, which other processes on the machine change
// less than how long it took.
func (s *Server) CPU(t testing.TB) (sum time.Duration) {
	info, err := s.Client(t).InfoMap(t.Context(), "cpu").Result()
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		d, err2 := time.ParseDuration(info["CPU"][field] + "s")
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		sum += d
	}
	return sum
}

// Mini returns a client of a miniredis; both are closed with the test. Keys do not expire:
// with ClockTTL it would sort all keys before every command, which is too slow for thousands
// of desktops under the race detector.
func Mini(t testing.TB) redis.UniversalClient {
	c := redis.NewClient(Options(miniredis.RunT(t).Addr()))
	t.Cleanup(func() { _ = c.Close() })
	return c
}
