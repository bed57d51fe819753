package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/redisfault"
)

// refusedPause is the time between two tries of commands that Redis has refused, for all
// queues of a worker together. go-redis sends such a command up to four times (MaxRetries
// 3), so that Redis sees at most twenty a second.
const refusedPause = 200 * time.Millisecond

// pacedRedis is the client of asynq's servers. Their loops try again at once after an error
// (asynq v0.26, processor.exec): without a pause they would send thousands of commands a
// second to a Redis that refuses them.
type pacedRedis struct {
	redis.UniversalClient
	pace *pace
}

// EvalSha runs all scripts of asynq, which is all that its loops do often.
func (r pacedRedis) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return r.pace.send(ctx, sha, keys, func() *redis.Cmd { return r.UniversalClient.EvalSha(ctx, sha, keys, args...) })
}

// Eval runs a script that Redis does not know yet.
func (r pacedRedis) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return r.pace.send(ctx, script, keys, func() *redis.Cmd { return r.UniversalClient.Eval(ctx, script, keys, args...) })
}

// pace makes refused scripts wait for their turn before they are sent again. A script that was
// not refused for its queue never waits.
type pace struct {
	log  zerolog.Logger
	over chan struct{} // closed by end
	line chan struct{} // capacity 1: the next turn

	mu      sync.Mutex
	refused map[refusedScript]bool
	pause   time.Duration // between turns; each success halves it, so that all go on soon when Redis recovers
	turn    time.Time     // the last
	logged  time.Time     // when refusals were last reported
	warned  bool          // that commands are refused, and not yet that they are accepted again
}

// refusedScript is a script and the queue that it is for.
type refusedScript struct{ script, queue string }

func newPace(log zerolog.Logger) *pace {
	return &pace{log: log, over: make(chan struct{}), line: make(chan struct{}, 1), refused: map[refusedScript]bool{}, pause: refusedPause}
}

// end lets everything through, because a worker that stops waits for nothing. It is called once.
func (p *pace) end() { close(p.over) }

func (p *pace) send(ctx context.Context, script string, keys []string, send func() *redis.Cmd) *redis.Cmd {
	what := refusedScript{script, queueOf(keys)}
	if p.isRefused(what) {
		if err := p.wait(ctx); err != nil {
			cmd := redis.NewCmd(ctx)
			cmd.SetErr(err)
			return cmd
		}
	}
	cmd := send()
	if ctx.Err() == nil {
		p.note(what, cmd.Err())
	}
	return cmd
}

// queueOf is the hash tag of the first key; asynq's keys are asynq:{queue}:….
func queueOf(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	_, rest, _ := strings.Cut(keys[0], "{")
	queue, _, _ := strings.Cut(rest, "}")
	return queue
}

func (p *pace) isRefused(what refusedScript) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[what]
}

// wait returns at its turn, or with the error of ctx.
func (p *pace) wait(ctx context.Context) error {
	select {
	case p.line <- struct{}{}:
		defer func() { <-p.line }()
	case <-ctx.Done():
		return ctx.Err()
	case <-p.over:
		return nil
	}
	p.mu.Lock()
	timer := time.NewTimer(time.Until(p.turn.Add(p.pause)))
	p.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.over:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn = time.Now()
	return nil
}

// note notes the result of a command.
func (p *pace) note(what refusedScript, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case refuses(err):
		p.refused[what], p.pause = true, refusedPause
		p.report(err)
	case p.refused[what]:
		delete(p.refused, what)
		if p.pause /= 2; p.pause < refusedPause/4 || len(p.refused) == 0 {
			p.recover()
		}
	}
}

// recover ends the pauses, for all scripts: some may never be sent again, such as the end of a
// task that this worker has lost.
func (p *pace) recover() {
	clear(p.refused)
	p.pause = 0
	if p.warned {
		p.warned = false
		p.log.Info().Msg("Redis accepts the queues' commands again")
	}
}

// report logs that commands are refused: once a minute, and again after a recovery.
func (p *pace) report(err error) {
	least := 10 * time.Second
	if p.warned {
		least = time.Minute
	}
	if !p.logged.IsZero() && time.Since(p.logged) < least {
		return
	}
	p.logged, p.warned = time.Now(), true
	line := p.log.Warn().Err(err)
	if f := redisfault.Of(err); f != nil {
		line.Str("code", f.Code).Str("why", f.Meaning).Str("next", f.Advice)
	}
	line.Msg("Redis refuses the queues' commands: no task is taken; retrying several times a second")
}

// refuses reports whether err is a refusal, and not a reply of asynq's scripts such as "NOT
// FOUND".
func refuses(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	text := err.Error()
	return redisfault.Of(err) != nil || strings.HasPrefix(text, "ERR ") || strings.HasPrefix(text, "WRONGTYPE ")
}
