package redistest

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Twice is a hook that sends every command twice, and gives the second reply: as a client does whose connection
// broke after Redis had run the command, and before the reply.
type Twice struct{}

// DialHook changes nothing.
func (Twice) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook sends a command twice.
func (Twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		_ = next(ctx, cmd)
		cmd.SetErr(nil)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook sends a pipeline twice.
func (Twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		_ = next(ctx, cmds)
		for _, cmd := range cmds {
			cmd.SetErr(nil)
		}
		return next(ctx, cmds)
	}
}
