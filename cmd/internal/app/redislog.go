package app

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// go-redis logs to stderr in its own format. It also returns those errors, which are then
// logged or shown once, by us.
func init() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
