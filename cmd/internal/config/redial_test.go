package config

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks/redisfault"
	"github.com/detachd/detachd/tasks/redistest"
)

// swapped is a name that leads to one server, and later to another. Connections stay
// where they were made.
type swapped struct {
	net.Listener
	to   atomic.Pointer[string]
	made atomic.Int64 // connections
	say  func([]byte) []byte
	wg   sync.WaitGroup
}

func newSwapped(t *testing.T, to string, say func([]byte) []byte) *swapped {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := &swapped{Listener: l, say: say}
	a.to.Store(&to)
	ctx, cancel := context.WithCancel(context.Background())
	a.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			a.made.Add(1)
			a.wg.Go(func() { a.join(ctx, in, *a.to.Load()) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); cancel(); a.wg.Wait() })
	return a
}

func (a *swapped) join(ctx context.Context, in net.Conn, to string) {
	out, err := net.Dial("tcp", to)
	if err != nil {
		_ = in.Close()
		return
	}
	end := func() { _ = in.Close(); _ = out.Close() }
	defer context.AfterFunc(ctx, end)()
	a.wg.Go(func() { _, _ = io.Copy(out, in); end() })
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil {
			end()
			return
		}
		if _, err := in.Write(a.say(buf[:n])); err != nil {
			end()
			return
		}
	}
}

func asItIs(b []byte) []byte { return b }

// asOlder has a server say it as Redis 6 does of a script.
func asOlder(b []byte) []byte {
	return bytes.ReplaceAll(b, []byte("-READONLY You"), []byte("-ERR Error running script (call to f_0): @user_script:1: READONLY You"))
}

func asProxied(b []byte) []byte {
	return bytes.ReplaceAll(b, []byte("-READONLY You"), []byte("-ERR READONLY You"))
}

var setScript = redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1])`)

// A primary is demoted and another takes its address: every way to write finds the new
// one, with no restart, whatever the pool holds.
func TestDemotedPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	alone := func(c redis.UniversalClient) error { return setScript.EvalSha(ctx, c, []string{"k"}, "v").Err() }
	for name, test := range map[string]struct {
		say   func([]byte) []byte
		write func(redis.UniversalClient) error
	}{
		"a script":                    {asItIs, alone},
		"a script, as Redis 6 says":   {asOlder, alone},
		"a script, ERR before it":     {asProxied, alone},
		"a script behind a reading":   {asItIs, behindReading(ctx)},
		"the same, ERR before it":     {asProxied, behindReading(ctx)},
		"the same, as Redis 6 says":   {asOlder, behindReading(ctx)},
		"a command, ERR before it":    {asProxied, func(c redis.UniversalClient) error { return c.Set(ctx, "k", "v", 0).Err() }},
		"in MULTI, ERR before it":     {asProxied, inMulti(ctx)},
		"a script that is not loaded": {asProxied, func(c redis.UniversalClient) error { return setScript.Eval(ctx, c, []string{"k"}, "v").Err() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, primary := redistest.Start(t), redistest.Start(t)
			require.NoError(t, setScript.Load(ctx, old.Client(t)).Err())
			require.NoError(t, setScript.Load(ctx, primary.Client(t)).Err())
			a := newSwapped(t, old.Addr(), test.say)
			r := Defaults().Redis
			r.URL = apiclient.Secret("redis://" + a.Addr().String())
			c, err := r.Open(env())
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			fill(t, c, 20)
			require.NoError(t, test.write(c))

			require.NoError(t, old.Client(t).Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
			require.Equal(t, "redis_read_only", redisfault.Of(test.write(c)).Code, "nothing has taken its place")
			to := primary.Addr()
			a.to.Store(&to)
			require.Eventually(t, func() bool { return test.write(c) == nil }, time.Minute, 10*time.Millisecond, "it stays with the old one")
			require.Equal(t, "v", primary.Client(t).Get(ctx, "k").Val())
			for range 100 {
				require.NoError(t, test.write(c), "a connection to the old one is left")
			}
		})
	}
}

func behindReading(ctx context.Context) func(redis.UniversalClient) error {
	return func(c redis.UniversalClient) error {
		var write *redis.Cmd
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Exists(ctx, "k")
			write = setScript.EvalSha(ctx, p, []string{"k"}, "v")
			return nil
		})
		if err != nil {
			return err
		}
		return write.Err()
	}
}

func inMulti(ctx context.Context) func(redis.UniversalClient) error {
	return func(c redis.UniversalClient) error {
		var write *redis.StatusCmd
		_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			write = p.Set(ctx, "k", "v", 0)
			return nil
		})
		if write.Err() != nil {
			return write.Err()
		}
		return err
	}
}

// fill has a client's pool hold some connections.
func fill(t *testing.T, c redis.UniversalClient, n int) {
	t.Helper()
	held := make([]*redis.Conn, n)
	for i := range held {
		held[i] = c.(*redis.Client).Conn()
		require.NoError(t, held[i].Ping(t.Context()).Err())
	}
	for _, h := range held {
		require.NoError(t, h.Close())
	}
	require.GreaterOrEqual(t, int(c.PoolStats().IdleConns), n)
}

// A server that stays as it is is not dialled for each command that it refuses, and what
// is refused for another reason leaves the connections alone.
func TestRedialsAreFew(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	old := redistest.Start(t)
	a := newSwapped(t, old.Addr(), asProxied)
	r := Defaults().Redis
	r.URL = apiclient.Secret("redis://" + a.Addr().String())
	c, err := r.Open(env())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	admin := old.Client(t)
	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "1").Err())
	for range 50 {
		require.Error(t, c.Set(ctx, "k", "v", 0).Err())
	}
	require.EqualValues(t, 1, a.made.Load())
	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, admin.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
	begun := time.Now()
	for range 500 {
		require.Error(t, c.Set(ctx, "k", "v", 0).Err())
	}
	require.LessOrEqual(t, a.made.Load(), 2+int64(time.Since(begun)/redialPause)+1)
	require.GreaterOrEqual(t, a.made.Load(), int64(2))
}
