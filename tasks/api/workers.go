package api

import (
	"context"
	"net/url"
	"time"
)

// Worker is a worker process that has beaten and not left.
type Worker struct {
	ID       string    `json:"id"`
	LastBeat time.Time `json:"last_beat"`
	SilentMS int64     `json:"silent_ms"` // since then; they beat every few seconds
}

// Workers lists the workers. Without one that beats nothing moves.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	items, _, err := list[Worker](ctx, c, "/v1/workers", url.Values{}, 0, "")
	return items, err
}
