package app

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Embedded is a Redis in memory and a fake cloud, both on loopback, for trying
// out. They forget everything when they stop.
type Embedded struct {
	Cloud    *fakecloud.Server
	RedisURL string
	undo     cleanups
}

// StartEmbedded starts both at the given addresses; "127.0.0.1:0" takes any free
// port.
func StartEmbedded(cloud fakecloud.Config, redisAddr, cloudAddr string) (*Embedded, error) {
	e := &Embedded{}
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // keys expire as time passes; by itself it does not do that
	if err := m.StartAddr(redisAddr); err != nil {
		return nil, fmt.Errorf("starting the Redis in memory: %w", err)
	}
	e.undo.add("redis", func() error { m.Close(); return nil })
	srv, err := fakecloud.Serve(cloud, cloudAddr)
	if err != nil {
		e.Stop()
		return nil, fmt.Errorf("starting the fake cloud: %w", err)
	}
	e.undo.add("cloud", func() error { srv.Close(); return nil })
	e.Cloud, e.RedisURL = srv, "redis://"+m.Addr()+"/0"
	return e, nil
}

// Stop ends both. It may be called more than once.
func (e *Embedded) Stop() { e.undo.run(func(string, error) {}) }
