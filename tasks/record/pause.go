package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// scriptPause closes a gate unless a stronger or longer pause is on.
//
//	KEYS  gate
//	ARGV  kind, ms from now (0: until resumed), reason
//	Returns 1 if it was written
var scriptPause = redis.NewScript(`
local rank = {throttled=1, auth=2, no_right=2, not_api=2, operator=3}
local t = redis.call('TIME')
local now = t[1]*1000 + math.floor(t[2]/1000)
local cur = redis.call('HMGET', KEYS[1], 'kind', 'until')
local untilMS = 0
if tonumber(ARGV[2]) > 0 then untilMS = now + tonumber(ARGV[2]) end
if cur[1] then
  local u = tonumber(cur[2])
  local on = (u == 0) or (u > now)
  if on and rank[cur[1]] > rank[ARGV[1]] then return 0 end
  if on and cur[1] == ARGV[1] and ARGV[1] == 'throttled' and u >= untilMS then return 0 end
end
redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'until', string.format('%.0f', untilMS), 'reason', ARGV[3])
return 1
`)

// PauseProject closes a project's gate for all workers, for d or, when d is 0,
// until ResumeProject.
func (r *Record) PauseProject(ctx context.Context, project string, kind tasks.PauseKind, d time.Duration, reason string) error {
	ms := (d + time.Millisecond - 1).Milliseconds() // less than one is not for ever
	if _, err := r.runScript(ctx, scriptPause, []string{r.keys.gate(project)}, string(kind), ms, reason); err != nil {
		return fmt.Errorf("pausing project %s: %w", project, err)
	}
	return nil
}

// scriptResume opens a gate and counts that. The count stays when the gate is open.
//
//	KEYS  gate
//	ARGV  kinds of pause that are ended; none: all, and it counts where there is none
//	Returns 1 if it opened or counted
var scriptResume = redis.NewScript(`
if #ARGV > 0 then
  local kind, match = redis.call('HGET', KEYS[1], 'kind'), false
  for i = 1, #ARGV do match = match or kind == ARGV[i] end
  if not match then return 0 end
end
redis.call('HDEL', KEYS[1], 'kind', 'until', 'reason')
redis.call('HINCRBY', KEYS[1], 'resumed', 1)
return 1
`)

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
