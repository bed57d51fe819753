package api

import (
	"context"
	"net/url"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Worker is a worker process that has beaten and not left.
type Worker struct {
	ID       string    `json:"id"`
	LastBeat time.Time `json:"last_beat"`
	SilentMS int64     `json:"silent_ms"` // since then; they beat every few seconds
}

// Alive reports that it has beaten lately.
func (w Worker) Alive() bool {
	return tasks.Worker{Silent: time.Duration(w.SilentMS) * time.Millisecond}.Alive()
}

// Workers lists the workers. Without one that beats nothing moves.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	items, _, err := list[Worker](ctx, c, "/v1/workers", url.Values{}, 0, "")
	return items, err
}
