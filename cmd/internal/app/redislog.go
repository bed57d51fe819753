package app

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// go-redis writes to stderr by itself, in a form of its own. What it writes it
// also returns as an error, which is then logged or shown once, by us.
func init() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
