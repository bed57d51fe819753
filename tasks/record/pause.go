package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

var scriptPause = script("pause", "clock", "pause")

// PauseProject pauses a project for all workers, for d, or until ResumeProject if d is 0.
func (r *Record) PauseProject(ctx context.Context, project string, kind tasks.PauseKind, d time.Duration, reason string) error {
	ms := (d + time.Millisecond - 1).Milliseconds() // rounded up: 0 would be forever
	if _, err := r.runScript(ctx, scriptPause, []string{r.keys.gate(project)}, string(kind), ms, reason); err != nil {
		return fmt.Errorf("pausing project %s: %w", project, err)
	}
	return nil
}

var scriptResume = script("resume")

// ResumeProject ends a project's pause: any pause, or only one of the given kinds.
// Processes then read the project's secrets again; see Resumed.
func (r *Record) ResumeProject(ctx context.Context, project string, kinds ...tasks.PauseKind) error {
	args := make([]any, len(kinds))
	for i, k := range kinds {
		args[i] = string(k)
	}
	if _, err := r.runScript(ctx, scriptResume, []string{r.keys.gate(project)}, args...); err != nil {
		return fmt.Errorf("resuming project %s: %w", project, err)
	}
	return nil
}

// StopAll pauses all projects at once, also those that are configured later, until
// ResumeAll. No call begins after it returned: begin reads the same key; see ApplyRenewing.
// Copies says whether a failover could lose it.
func (r *Record) StopAll(ctx context.Context, reason string) (Copies, error) {
	set := &scriptCall{args: []any{"HSET", r.keys.stop(), "kind", string(tasks.PauseStop), "until", 0, "reason", reason}}
	copies, err := r.durably(ctx, []*scriptCall{set}, nil)
	if err != nil {
		return copies, fmt.Errorf("stopping all projects: %w", err)
	}
	return copies, nil
}

// ResumeAll ends StopAll. Projects that are paused for another reason stay paused. It
// reports whether there was a stop.
func (r *Record) ResumeAll(ctx context.Context) (bool, error) {
	n, err := r.rdb.Del(ctx, r.keys.stop()).Result()
	if err != nil {
		return false, fmt.Errorf("ending the stop of all projects: %w", err)
	}
	return n > 0, nil
}

// stopped is the call that asks whether all projects are stopped.
func (r *Record) stopped() *scriptCall {
	return &scriptCall{args: []any{"EXISTS", r.keys.stop()}, reads: true}
}

// Resumed counts how often a project was resumed. A holder of the project's secrets compares
// it with the count at which it read them: if it differs, a person may have corrected them
// since. A failover that loses a second can make it smaller.
func (r *Record) Resumed(ctx context.Context, project string) (int64, error) {
	n, err := r.rdb.HGet(ctx, r.keys.gate(project), "resumed").Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("reading how often project %s was resumed: %w", project, err)
	}
	return n, nil
}

// ProjectPause reads a project's pause, or the stop of all projects; nil if there is
// neither.
func (r *Record) ProjectPause(ctx context.Context, project string) (*tasks.Pause, error) {
	pauses, err := r.ProjectPauses(ctx, project)
	return pauses[project], err
}

// ProjectPauses is ProjectPause for several projects, in one round trip. Those that are not
// paused are nil in the map.
func (r *Record) ProjectPauses(ctx context.Context, projects ...string) (map[string]*tasks.Pause, error) {
	var stop *redis.SliceCmd
	own := make([]*redis.SliceCmd, len(projects))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		stop = p.HMGet(ctx, r.keys.stop(), pauseFields...)
		for i, project := range projects {
			own[i] = p.HMGet(ctx, r.keys.gate(project), pauseFields...)
		}
		return nil
	})
	out := make(map[string]*tasks.Pause, len(projects))
	for i, project := range projects {
		if err == nil {
			out[project], err = strongerPause(stop, own[i])
		}
		if err != nil {
			return nil, fmt.Errorf("reading the pause of project %s: %w", project, err)
		}
	}
	return out, nil
}

// AnnounceProjects records that a worker serves these projects, and only these, from now on.
func (r *Record) AnnounceProjects(ctx context.Context, worker string, aliases ...string) error {
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, r.keys.projects(), aliases)
		p.HSet(ctx, r.keys.serving(), worker, mustJSON(aliases))
		return nil
	})
	if err != nil {
		return fmt.Errorf("announcing projects: %w", err)
	}
	return nil
}

// Serves repeats AnnounceProjects in one command. A worker does so with its heartbeats, as
// Redis may have lost the entry.
func (r *Record) Serves(ctx context.Context, worker string, aliases ...string) error {
	if err := r.rdb.HSet(ctx, r.keys.serving(), worker, mustJSON(aliases)).Err(); err != nil {
		return fmt.Errorf("announcing projects: %w", err)
	}
	return nil
}

// Announced reads which projects each worker has announced.
func (r *Record) Announced(ctx context.Context) (map[string][]string, error) {
	said, err := r.rdb.HGetAll(ctx, r.keys.serving()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the projects of the workers: %w", err)
	}
	return announced(said), nil
}

func announced(said map[string]string) map[string][]string {
	out := make(map[string][]string, len(said))
	for worker, text := range said {
		var aliases []string
		if decodeJSON(text, &aliases) == nil {
			out[worker] = aliases
		}
	}
	return out
}

// Serving is the number of living workers of each project.
type Serving struct {
	by  map[string]int
	all int // workers that have not announced projects, as older versions: they count for each
}

// Of is the number of workers that serve a project.
func (s Serving) Of(project string) int { return s.all + s.by[project] }

// Serving reads the workers of all projects, in one round trip.
func (r *Record) Serving(ctx context.Context) (Serving, error) {
	out := Serving{by: map[string]int{}}
	var now *redis.TimeCmd
	var beats *redis.ZSliceCmd
	var said *redis.MapStringStringCmd
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		now, beats, said = p.Time(ctx), p.ZRangeWithScores(ctx, r.keys.workers(), 0, -1), p.HGetAll(ctx, r.keys.serving())
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("reading the workers of the projects: %w", err)
	}
	serve := announced(said.Val())
	for _, z := range beats.Val() {
		if w := (tasks.Worker{Silent: now.Val().Sub(time.UnixMilli(int64(z.Score)))}); !w.Alive() {
			continue
		}
		aliases, known := serve[z.Member.(string)]
		if !known {
			out.all++
		}
		for _, alias := range aliases {
			out.by[alias]++
		}
	}
	return out, nil
}

// Projects lists the aliases that workers have announced.
func (r *Record) Projects(ctx context.Context) ([]string, error) {
	v, err := r.rdb.SMembers(ctx, r.keys.projects()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading projects: %w", err)
	}
	return v, nil
}

// LimitKey is the prefix of the keys with which all processes share the rate of a credential.
func (r *Record) LimitKey(credential string) string { return r.keys.limit(credential) }
