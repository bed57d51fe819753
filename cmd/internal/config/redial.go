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

// redialPause is the least time between two rounds of dialling again: a server that
// stays a replica must not be dialled for each command that it refuses.
const redialPause = time.Second

// redials has a client leave a server that was demoted. go-redis (v9.23, isBadConn)
// drops a connection only for READONLY at the beginning of the reply, and of a pipeline
// it looks at the first reply alone; otherwise it stays connected to the old primary for
// ever. After such a refusal all connections are dialled again, which resolves the name
// anew, or asks the Sentinels. A Cluster's nodes have one each.
func redials(c redis.UniversalClient) {
	switch c := c.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(node *redis.Client) { node.AddHook(newRedialler()) })
	case *redis.Client:
		c.AddHook(newRedialler())
	}
}

// redialler is the redis.Hook of a client. Connections dialled before the current round
// are stale.
type redialler struct {
	round atomic.Int64

	mu   sync.Mutex
	last time.Time // when the current round began
}

func newRedialler() *redialler { return &redialler{} }

// DialHook notes the round in which a connection was dialled.
func (r *redialler) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		// Before dialling: the address may be given to another server meanwhile.
		round := r.round.Load()
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &dialled{Conn: conn, round: round, redialler: r}, nil
	}
}

// ProcessHook looks at what a command was answered.
func (r *redialler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.look(err)
		return err
	}
}

// ProcessPipelineHook looks at every reply of a pipeline.
func (r *redialler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			r.look(cmd.Err())
		}
		return err
	}
}

func (r *redialler) look(err error) {
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

// dialled is a connection that ends itself when it is stale: before the next command,
// not under one that waits for its reply.
type dialled struct {
	net.Conn
	round     int64
	redialler *redialler
}

// errStale is an io.EOF, for which go-redis drops a connection and sends the command on
// another.
var errStale = fmt.Errorf("this server refused as one that is no primary any more: %w", io.EOF)

func (c *dialled) stale() bool { return c.round != c.redialler.round.Load() }

func (c *dialled) Write(b []byte) (int, error) {
	if c.stale() {
		return 0, errStale
	}
	return c.Conn.Write(b)
}

// SyscallConn is what go-redis' pool asks for when it takes a connection that was idle:
// the error has it drop the connection and spend no try of the command. Over TLS the
// socket is not shown, as crypto/tls does not.
func (c *dialled) SyscallConn() (syscall.RawConn, error) {
	if c.stale() {
		return nil, errStale
	}
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return unseen{}, nil
}

// unseen is a socket of which nothing is seen.
type unseen struct{}

func (unseen) Control(func(uintptr)) error    { return nil }
func (unseen) Read(func(uintptr) bool) error  { return nil }
func (unseen) Write(func(uintptr) bool) error { return nil }
