package app

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Embedded is a Redis in memory and a fake cloud for trying out. Their data is lost when they
// stop.
type Embedded struct {
	Cloud    *fakecloud.Server
	RedisURL string
	undo     cleanups
}

// StartEmbedded starts both at the given addresses; "127.0.0.1:0" is any free port. On an
// error neither runs.
func StartEmbedded(cloud fakecloud.Config, redisAddr, cloudAddr string) (*Embedded, error) {
	e := &Embedded{}
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // keys expire as time passes
	if err := m.StartAddr(redisAddr); err != nil {
		return nil, fmt.Errorf("starting Redis in memory: %w", err)
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

// Stop stops both. It may be called more than once.
func (e *Embedded) Stop() { e.undo.run(func(string, error) {}) }
