package redistest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// through gives a client of a redis-server behind a proxy.
func through(t *testing.T) (*Server, *Proxy, *redis.Client) {
	t.Helper()
	s := Start(t)
	p, err := NewProxy(s.Addr())
	require.NoError(t, err)
	t.Cleanup(p.Close)
	c := redis.NewClient(Options(p.Addr()))
	t.Cleanup(func() { _ = c.Close() })
	return s, p, c
}

func TestProxyPassesAndDelays(t *testing.T) {
	t.Parallel()
	_, p, c := through(t)
	require.NoError(t, c.Set(t.Context(), "a", "1", 0).Err())
	p.Delay(30*time.Millisecond, 40*time.Millisecond)
	begin := time.Now()
	require.Equal(t, "1", c.Get(t.Context(), "a").Val())
	require.GreaterOrEqual(t, time.Since(begin), 60*time.Millisecond, "a command and its reply wait")
	p.Delay(0, 0)
	require.Equal(t, "1", c.Get(t.Context(), "a").Val())
	byURL, err := redis.ParseURL(p.URL())
	require.NoError(t, err)
	require.Equal(t, p.Addr(), byURL.Addr)
}

// A paused connection hangs, is the same one afterwards, and loses nothing.
func TestProxyPause(t *testing.T) {
	t.Parallel()
	s, p, c := through(t)
	id, err := c.ClientID(t.Context()).Result()
	require.NoError(t, err)
	p.Pause()
	p.Pause()
	got := make(chan error, 1)
	go func() { got <- c.Set(context.Background(), "a", "1", 0).Err() }()
	fresh, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err, "as a frozen process has new connections accepted")
	defer func() { _ = fresh.Close() }()
	_, err = fresh.Write([]byte("PING\r\n"))
	require.NoError(t, err)
	require.NoError(t, fresh.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = fresh.Read(make([]byte, 10))
	require.ErrorContains(t, err, "timeout")
	require.Zero(t, s.Client(t).Exists(t.Context(), "a").Val(), "nothing got through")
	require.Empty(t, got)
	p.Resume()
	require.NoError(t, <-got)
	require.NoError(t, fresh.SetReadDeadline(time.Now().Add(patient)))
	reply := make([]byte, 7)
	_, err = fresh.Read(reply)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", string(reply))
	require.Equal(t, id, c.ClientID(t.Context()).Val(), "the connection is the same")
}

// While the proxy is paused, the end of the server is not seen.
func TestProxyPauseHidesTheEnd(t *testing.T) {
	t.Parallel()
	s, p, c := through(t)
	require.NoError(t, c.Ping(t.Context()).Err())
	p.Pause()
	got := make(chan error, 1)
	go func() { got <- c.Ping(context.Background()).Err() }()
	s.Kill()
	select {
	case err := <-got:
		t.Fatalf("the end got through: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Resume()
	require.Error(t, <-got)
}

func TestProxyCut(t *testing.T) {
	t.Parallel()
	s, p, c := through(t)
	require.NoError(t, c.Set(t.Context(), "a", "1", 0).Err())
	p.Cut()
	require.Error(t, c.Get(t.Context(), "a").Err())
	require.Error(t, c.Get(t.Context(), "a").Err(), "new connections are closed too")
	require.Equal(t, "1", s.Client(t).Get(t.Context(), "a").Val(), "redis-server goes on")
	p.Resume()
	require.Equal(t, "1", c.Get(t.Context(), "a").Val())
}

func TestProxyClose(t *testing.T) {
	t.Parallel()
	_, p, c := through(t)
	require.NoError(t, c.Ping(t.Context()).Err())
	p.Pause()
	go func() { _ = c.Ping(context.Background()).Err() }()
	p.Close()
	p.Close()
	require.Error(t, c.Ping(t.Context()).Err())
	_, err := net.Dial("tcp", p.Addr())
	require.Error(t, err)
}
