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

// PauseProject closes a project's gate for all workers, for d or, when d is 0,
// until ResumeProject.
func (r *Record) PauseProject(ctx context.Context, project string, kind tasks.PauseKind, d time.Duration, reason string) error {
	ms := (d + time.Millisecond - 1).Milliseconds() // less than one is not for ever
	if _, err := r.runScript(ctx, scriptPause, []string{r.keys.gate(project)}, string(kind), ms, reason); err != nil {
		return fmt.Errorf("pausing project %s: %w", project, err)
	}
	return nil
}

var scriptResume = script("resume")

// ResumeProject opens a project's gate, whoever closed it, or only if it was
// closed as one of the given kinds. Processes then read the project's secrets again,
// see Resumed.
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

// Resumed counts how often a project was resumed. Who holds secrets of the project
// compares: another count than when they were read means that a person may have
// corrected them since. After a failover that loses a second it may be less.
func (r *Record) Resumed(ctx context.Context, project string) (int64, error) {
	n, err := r.rdb.HGet(ctx, r.keys.gate(project), "resumed").Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("reading how often project %s was resumed: %w", project, err)
	}
	return n, nil
}

// ProjectPause reads whether a project is paused; nil: it is not.
func (r *Record) ProjectPause(ctx context.Context, project string) (*tasks.Pause, error) {
	p, err := decodePause(r.rdb.HMGet(ctx, r.keys.gate(project), pauseFields...))
	if err != nil {
		return nil, fmt.Errorf("reading the pause of project %s: %w", project, err)
	}
	return p, nil
}

// AnnounceProjects says that a worker serves these projects, and only these, from
// now on.
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

// Serves repeats what AnnounceProjects said, with one command: a worker says it with
// its beats, as Redis may have lost it.
func (r *Record) Serves(ctx context.Context, worker string, aliases ...string) error {
	if err := r.rdb.HSet(ctx, r.keys.serving(), worker, mustJSON(aliases)).Err(); err != nil {
		return fmt.Errorf("announcing projects: %w", err)
	}
	return nil
}

// Serving is how many living workers serve which project.
type Serving struct {
	by  map[string]int
	all int // workers that have not said what they serve, as older ones: anything
}

// Of is how many workers serve a project.
func (s Serving) Of(project string) int { return s.all + s.by[project] }

// Serving reads who serves what, in one round trip.
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
		return out, fmt.Errorf("reading who serves which project: %w", err)
	}
	for _, z := range beats.Val() {
		if w := (tasks.Worker{Silent: now.Val().Sub(time.UnixMilli(int64(z.Score)))}); !w.Alive() {
			continue
		}
		var aliases []string
		if decodeJSON(said.Val()[z.Member.(string)], &aliases) != nil {
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

// LimitKey begins the keys by which all processes share what a credential may send.
func (r *Record) LimitKey(credential string) string { return r.keys.limit(credential) }
