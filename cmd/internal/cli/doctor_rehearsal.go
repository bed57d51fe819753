package cli

import (
	"context"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/worker"
)

// rehearse does with Redis what a worker does, and says what does not work, and why.
func rehearse(ctx context.Context, s *app.Store, fs *findings) {
	r := worker.Rehearse(ctx, s.Redis, s.Record)
	for _, step := range []struct {
		check, what string
		err         error
	}{
		{"redis claims", "desktops were claimed, refused to another, and given back", r.Claims},
		{"redis limits", "a request was let through", r.Limits},
		{"redis queue", "a task was enqueued, taken and done", r.Queue},
		{"redis channel", "a message was published", r.Cancel},
		{"redis clean-up", "what was written for this was removed", r.Clean},
	} {
		fs.rehearsed(step.check, step.what, step.err)
	}
	const check = "redis wait"
	switch {
	case r.Replicas != nil:
		fs.add(check, warn, "let the Redis user run INFO and WAIT",
			"whether a replica has what is accepted cannot be told, so a failover may lose it unnoticed: %v", r.Replicas)
	case r.Connected > 0 && r.Acknowledged == 0:
		fs.add(check, warn, "look at the replicas and at the network between", "no replica acknowledged a write in time: a failover loses what was just accepted")
	case r.Connected > 0:
		fs.add(check, fine, "", "a replica acknowledged a write")
	}
}

func (fs *findings) rehearsed(check, what string, err error) {
	if err == nil {
		fs.add(check, fine, "", "%s", what)
		return
	}
	if worker.RefusesKeysOfScripts(err) {
		fs.add(check, bad, "use a Redis that lets scripts do so; Dragonfly does when it is started with --default_lua_flags=allow-undeclared-keys",
			"this server refuses scripts that build the names of keys, as those of asynq do, which carries the work: nothing can be sent. It says: %v", err)
		return
	}
	f := explainRedis(err)
	if f == nil {
		f = &failure{exitInternal, err, "look at what Redis says there, and at its log"}
	}
	fs.add(check, bad, f.next, "%v", f)
}
