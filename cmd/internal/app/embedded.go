package app

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Embedded is a Redis without persistence and a fake cloud for trying out. Their data is lost
// when they stop.
type Embedded struct {
	Cloud    *fakecloud.Server
	RedisURL string
	// Server is true if the Redis is a redis-server, false if it is one in this process.
	Server bool
	// Unusable says why the redis-server that was asked for does not run.
	Unusable error
	undo     cleanups
}

// StartEmbedded starts both. redisServer is the program of a redis-server. If it is empty or
// cannot be used, the Redis runs in this process, at redisAddr. "127.0.0.1:0" is any free port.
// On an error neither runs.
func StartEmbedded(cloud fakecloud.Config, redisServer, redisAddr, cloudAddr string) (*Embedded, error) {
	e := &Embedded{}
	if redisServer != "" {
		e.Unusable = e.startServer(redisServer)
		e.Server = e.Unusable == nil
	}
	if !e.Server {
		e.Stop() // what is left of the redis-server
		if err := e.startInProcess(redisAddr); err != nil {
			return nil, fmt.Errorf("starting Redis in memory: %w", err)
		}
	}
	srv, err := fakecloud.Serve(cloud, cloudAddr)
	if err != nil {
		e.Stop()
		return nil, fmt.Errorf("starting the fake cloud: %w", err)
	}
	e.undo.add("cloud", func() error { srv.Close(); return nil })
	e.Cloud = srv
	return e, nil
}

func (e *Embedded) startInProcess(addr string) error {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return err
	}
	stopped := make(chan struct{})
	var expiring sync.WaitGroup
	expiring.Go(func() { expireKeys(m, stopped) })
	e.undo.add("redis", func() error { close(stopped); expiring.Wait(); m.Close(); return nil })
	e.RedisURL = "redis://" + m.Addr() + "/0"
	return nil
}

// expireKeys makes keys expire as time passes. The ClockTTL of miniredis does it before every
// command and sorts all keys for it: with 10,000 desktops, commands took longer than they may.
func expireKeys(m *miniredis.Miniredis, stopped <-chan struct{}) {
	for last := time.Now(); ; {
		now := time.Now()
		m.FastForward(now.Sub(last))
		last = now
		select {
		case <-time.After(max(100*time.Millisecond, 10*time.Since(now))):
		case <-stopped:
			return
		}
	}
}

// Stop stops both. It may be called more than once.
func (e *Embedded) Stop() { e.undo.run(func(string, error) {}) }
