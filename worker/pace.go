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

// refusedPause is between two tries of what Redis has refused, over all queues of a
// worker. go-redis sends a command that a replica, a server that loads, or one without
// its replicas refuses up to four times (MaxRetries 3), so that Redis sees at most twenty
// a second.
const refusedPause = 200 * time.Millisecond

// pacedRedis is the client of asynq's servers. Their loops take the next task at once
// after an error (asynq v0.26, processor.exec): refused without a pause, they sent
// thousands of commands a second to a Redis in trouble.
type pacedRedis struct {
	redis.UniversalClient
	pace *pace
}

// EvalSha runs all of asynq's scripts, and with them all that its loops do often.
func (r pacedRedis) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return r.pace.send(ctx, sha, keys, func() *redis.Cmd { return r.UniversalClient.EvalSha(ctx, sha, keys, args...) })
}

// Eval follows where Redis does not know a script.
func (r pacedRedis) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return r.pace.send(ctx, script, keys, func() *redis.Cmd { return r.UniversalClient.Eval(ctx, script, keys, args...) })
}

// pace has what was refused wait for its turn before it is sent again. A script that was
// not refused for its queue is never held up.
type pace struct {
	log  zerolog.Logger
	over chan struct{} // closed by end
	line chan struct{} // held by whoever has the next turn

	mu      sync.Mutex
	refused map[refusedScript]bool
	pause   time.Duration // between turns; halved by each success, so that all go on soon once Redis does
	turn    time.Time     // the last
	logged  time.Time     // when refusals were last reported
	told    bool          // that commands are refused, and not yet that they are taken again
}

// refusedScript is a script and the queue that it is for.
type refusedScript struct{ script, queue string }

func newPace(log zerolog.Logger) *pace {
	return &pace{log: log, over: make(chan struct{}), line: make(chan struct{}, 1), refused: map[refusedScript]bool{}, pause: refusedPause}
}

// end lets everything through: a worker that stops waits for nothing. It is called once.
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

// note keeps what became of a command.
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
			p.goOn()
		}
	}
}

// goOn ends the pauses. What was refused may never be sent again, such as the end of a
// task that was taken from this worker.
func (p *pace) goOn() {
	clear(p.refused)
	p.pause = 0
	if p.told {
		p.told = false
		p.log.Info().Msg("Redis takes the queues' commands again")
	}
}

// report says that commands are refused, once a minute, and again after an end.
func (p *pace) report(err error) {
	least := 10 * time.Second
	if p.told {
		least = time.Minute
	}
	if !p.logged.IsZero() && time.Since(p.logged) < least {
		return
	}
	p.logged, p.told = time.Now(), true
	line := p.log.Warn().Err(err)
	if f := redisfault.Of(err); f != nil {
		line.Str("code", f.Code).Str("why", f.Meaning).Str("next", f.Advice)
	}
	line.Msg("Redis refuses the queues' commands: no task is taken; they are tried some times a second until it does not")
}

// refuses tells errors from the answers that asynq's scripts give, of which "NOT FOUND"
// is one.
func refuses(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	text := err.Error()
	return redisfault.Of(err) != nil || strings.HasPrefix(text, "ERR ") || strings.HasPrefix(text, "WRONGTYPE ")
}
