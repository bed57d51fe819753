package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks/queue"
)

// Rehearsal tries the commands that producers and workers send to Redis, with keys of its own
// that Clean removes: those of a project whose alias is invalid in a configuration. Its
// methods wrap the errors of Redis.
type Rehearsal struct {
	record  *Record
	project string
}

// Rehearse begins a Rehearsal. Clean must be called at its end.
func (r *Record) Rehearse() *Rehearsal {
	return &Rehearsal{r, "_doctor-" + xid.New().String()} // aliases begin with a letter or a digit
}

// Queue is an asynq queue for the rehearsal.
func (x *Rehearsal) Queue() string { return x.record.QueueName(x.project, BulkQueue) }

// LimitKey is the limit key of a credential for the rehearsal.
func (x *Rehearsal) LimitKey() string { return x.record.LimitKey(x.project) }

// other is a record in which nobody looks.
func (x *Rehearsal) other() *Record {
	return New(x.record.rdb, Config{Prefix: x.record.keys.prefix + ":" + x.project})
}

// Bell rings and hears it.
func (x *Rehearsal) Bell(ctx context.Context) error {
	r := x.other()
	if err := r.Ring(ctx, Ring{}); err != nil {
		return err
	}
	rings, _, err := r.Hear(ctx, "0", time.Second)
	if err == nil && len(rings) == 0 {
		err = errors.New("waiting for work: the server does not return what was added to a stream")
	}
	return err
}

// Claim claims desktops with the script that touches several keys, checks that another holder
// does not get them, and releases them.
func (x *Rehearsal) Claim(ctx context.Context) error {
	mine := Claim{Project: x.project, Holder: "doctor/1", Desktops: []string{"a", "b"}}
	other := Claim{Project: x.project, Holder: "doctor/2", Desktops: []string{"b", "c"}}
	for _, step := range []struct {
		claim Claim
		want  []bool
	}{{mine, []bool{true, true}}, {other, []bool{false, true}}} {
		got, _, err := x.record.Claim(ctx, step.claim, time.Minute)
		if err != nil {
			return err
		}
		for i, want := range step.want {
			if got[i] != want {
				return fmt.Errorf("claiming desktops: %v instead of %v: a script does not read what an earlier one wrote", got, step.want)
			}
		}
	}
	return errors.Join(x.record.Release(ctx, mine), x.record.Release(ctx, other))
}

// Replicas writes and waits for a replica, as an acceptance does. connected is the number of
// replicas of the primary, acknowledged the number that had the write in time. Without a
// replica it writes nothing.
func (x *Rehearsal) Replicas(ctx context.Context) (connected, acknowledged int, err error) {
	key := x.record.keys.claims(x.project)
	server := x.record.rdb
	if cluster, ok := server.(*redis.ClusterClient); ok {
		if server, err = cluster.MasterForKey(ctx, key); err != nil {
			return 0, 0, fmt.Errorf("finding a primary: %w", err)
		}
	}
	info, err := server.Info(ctx, "replication").Result()
	if err != nil {
		return 0, 0, fmt.Errorf("reading INFO replication: %w", err)
	}
	if connected = connectedReplicas(info); connected == 0 {
		return 0, 0, nil
	}
	var waited *redis.Cmd
	mark := x.record.keys.mark(key)
	_, err = server.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, mark, 1, time.Minute)
		p.Del(ctx, mark)
		waited = p.Do(ctx, "wait", 1, x.record.replicas.wait.Milliseconds())
		return nil
	})
	if err != nil {
		return connected, 0, fmt.Errorf("waiting for a replica: %w", err)
	}
	acknowledged, err = waited.Int()
	return connected, acknowledged, err
}

// Clean removes all keys of the rehearsal, and those of asynq for its queue and the given task.
func (x *Rehearsal) Clean(ctx context.Context, task string) error {
	k := x.record.keys
	_, err := x.record.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, k.gate(x.project), k.claims(x.project), k.holders(x.project))
		p.Del(ctx, x.other().keys.bell())
		p.Del(ctx, x.LimitKey()+":calls")
		p.Del(ctx, queue.KeysOf(x.Queue()).All(task, time.Now())...)
		p.SRem(ctx, queue.Queues, x.Queue())
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing the test keys, which have %s in their names: %w", x.project, err)
	}
	return nil
}
