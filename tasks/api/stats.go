package api

import (
	"context"
	"net/url"

	"github.com/detachd/detachd/tasks"
)

// Stats gives how each project is doing that the key is for; project may name one. It
// may be two seconds old.
func (c *Client) Stats(ctx context.Context, project string) ([]tasks.Stats, error) {
	q := url.Values{}
	set(q, "project", project)
	items, _, err := list[tasks.Stats](ctx, c, "/v1/stats", q, 0, "")
	return items, err
}
