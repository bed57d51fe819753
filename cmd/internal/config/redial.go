package config

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks/redisfault"
)

// redialPause is the minimum time between two rounds of redialling: a server that stays a
// replica must not be redialled for each command that it refuses.
const redialPause = time.Second

// addRedial makes a client leave a demoted server. go-redis (v9.23, isBadConn) drops a
// connection only if a reply begins with READONLY, and in a pipeline only for the first
// reply; otherwise it stays connected to the old primary for ever. After such a refusal all
// connections are redialled, which resolves the name again, or asks the Sentinels. Each
// node of a Cluster has its own redialler.
func addRedial(c redis.UniversalClient) {
	switch c := c.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(node *redis.Client) { node.AddHook(&redialler{}) })
	case *redis.Client:
		c.AddHook(&redialler{})
	}
}

// redialler is a redis.Hook. Connections dialled before the current round are stale.
type redialler struct {
	round atomic.Int64

	mu   sync.Mutex
	last time.Time // start of the current round
}

// DialHook records the round in which a connection is dialled.
func (r *redialler) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		// Read before dialling, because the address may move to another server meanwhile.
		round := r.round.Load()
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &dialled{Conn: conn, round: round, redialler: r}, nil
	}
}

// ProcessHook checks the error of a command.
func (r *redialler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.check(err)
		return err
	}
}

// ProcessPipelineHook checks the error of every command in a pipeline.
func (r *redialler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			r.check(cmd.Err())
		}
		return err
	}
}

// check starts a new round if err is a refusal by a server that is not a primary.
func (r *redialler) check(err error) {
	if f := redisfault.Of(err); f == nil || !f.Redial {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.last) >= redialPause {
		r.last = now
		r.round.Add(1)
	}
}

// dialled is a connection that fails when it is stale: at the next command, but not while a
// command waits for its reply.
type dialled struct {
	net.Conn
	round     int64
	redialler *redialler
}

// errStale wraps io.EOF, after which go-redis drops the connection and sends the command on
// another one.
var errStale = fmt.Errorf("the server is not a primary any more: %w", io.EOF)

func (c *dialled) stale() bool { return c.round != c.redialler.round.Load() }

func (c *dialled) Write(b []byte) (int, error) {
	if c.stale() {
		return 0, errStale
	}
	return c.Conn.Write(b)
}

// SyscallConn is called by go-redis' pool for an idle connection: on an error it drops the
// connection without counting a try of the command. Over TLS the socket is not available.
func (c *dialled) SyscallConn() (syscall.RawConn, error) {
	if c.stale() {
		return nil, errStale
	}
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return noSocket{}, nil
}

// noSocket is a syscall.RawConn without a socket.
type noSocket struct{}

func (noSocket) Control(func(uintptr)) error    { return nil }
func (noSocket) Read(func(uintptr) bool) error  { return nil }
func (noSocket) Write(func(uintptr) bool) error { return nil }
