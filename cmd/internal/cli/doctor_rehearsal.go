package cli

import (
	"context"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/worker"
)

// claimsCheck is the check that is bad if a worker cannot write.
const claimsCheck = "redis claims"

// rehearse does in Redis what a worker does, and reports what does not work and why.
func rehearse(ctx context.Context, s *app.Store, fs *findings) {
	r := worker.Rehearse(ctx, s.Redis, s.Record)
	for _, step := range []struct {
		check, what string
		err         error
	}{
		{claimsCheck, "desktops were claimed, refused to another worker, and released", r.Claims},
		{"redis limits", "a request was allowed", r.Limits},
		{"redis bell", "a ring for workers was heard", r.Bell},
		{"redis queue", "a task was enqueued, received and completed", r.Queue},
		{"redis channel", "a message was published", r.Cancel},
		{"redis clean-up", "the test data was deleted", r.Clean},
	} {
		fs.rehearsed(step.check, step.what, step.err)
	}
	const check = "redis wait"
	switch {
	case r.Replicas != nil:
		fs.add(check, warn, "let the Redis user run INFO and WAIT",
			"cannot tell whether a replica has accepted operations, so a failover may lose them unnoticed: %v", r.Replicas)
	case r.Connected > 0 && r.Acknowledged == 0:
		fs.add(check, warn, "check the replicas and the network between",
			"no replica acknowledged a write in time: a failover loses what was just accepted")
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
		fs.add(check, bad, "use a Redis that allows this; Dragonfly does with --default_lua_flags=allow-undeclared-keys",
			"this server refuses scripts that compute key names, as those of asynq (the queue) do, so nothing can be sent: %v", err)
		return
	}
	f := explainRedis(err)
	if f == nil {
		f = &failure{exitInternal, err, "check the error and the log of Redis"}
	}
	fs.add(check, bad, f.next, "%v", f)
}
