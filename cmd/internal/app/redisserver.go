package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
)

// startServer starts a redis-server that keeps nothing. It is reachable only through a socket in
// a directory of this user: on a port, other users could have it write files in this user's name.
func (e *Embedded) startServer(program string) error {
	dir, err := os.MkdirTemp("", "detachd-redis-") // mode 0700
	if err != nil {
		return err
	}
	e.undo.add("redis directory", func() error { return os.RemoveAll(dir) })
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", dir,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--logfile", filepath.Join(dir, "redis.log"))
	cmd.Env = []string{} // the secrets of ours are not its business
	cmd.SysProcAttr = endsWithParent()
	started, gone := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends the child with the thread that started it, so this thread waits for it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(gone)
	}()
	if err := <-started; err != nil {
		return err
	}
	e.undo.add("redis", func() error {
		_ = cmd.Process.Kill() // fails if it has ended; there is nothing to save
		<-gone
		return nil
	})
	if err := answers(socket, gone); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	e.RedisURL = (&url.URL{Scheme: "unix", Path: socket}).String()
	return nil
}

// answers waits until a redis-server that is new enough answers on the socket.
func answers(socket string, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	for {
		info, err := c.InfoMap(ctx, "server").Result()
		if err == nil {
			return newEnough(info["Server"]["redis_version"])
		}
		select {
		case <-gone:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func newEnough(version string) error {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || major < 6 || major == 6 && minor < 2 {
		return fmt.Errorf("it is version %q, and 6.2 is needed", version)
	}
	return nil
}
