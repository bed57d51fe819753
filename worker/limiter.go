package worker

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks"
)

type requestKind int

const (
	callRequest requestKind = iota
	readRequest
)

type priority int

const (
	urgentFirst priority = iota
	beforeCall
	toProve
	toHint
)

type limiter struct{}

func (l *limiter) take(ctx context.Context, kind requestKind, p priority) error { return ctx.Err() }
func (l *limiter) giveBack(kind requestKind)                                    {}

func limiterOf(rdb redis.UniversalClient, record *tasks.Record, p Project, log zerolog.Logger) *limiter {
	return &limiter{}
}
