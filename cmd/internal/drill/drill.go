// Package drill holds what the commands share that run real detachd processes and
// break what is around them.
package drill

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence is for a client that says of every dial that it failed; here Redis is
// meant to go away.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// QuietRedis keeps go-redis from writing to stderr.
func QuietRedis() { redis.SetLogger(silence{}) }

// Build compiles detachd into dir and gives the binary's path.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "detachd")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/detachd/detachd/cmd/detachd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building detachd: %w\n%s", err, out)
	}
	return binary, nil
}

// Wait returns after d, or with the cause of ctx's end.
func Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// FreeAddress gives host:port of loopback that nothing listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Process is one of detachd.
type Process struct {
	Name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

// Start runs a binary with arguments, and more of the environment than we have. What
// it writes goes to log.
func Start(name string, log *os.File, env []string, binary string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// Ended is an error that says how the process ended, and nil while it runs.
func (p *Process) Ended() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %s", p.Name, p.cmd.ProcessState)
	default:
		return nil
	}
}

// Kill ends the process with SIGKILL and returns when it is gone. It may have ended
// before.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
