package api

import (
	"context"
	"net/url"

	"github.com/detachd/detachd/tasks"
)

// Stats is how a project is doing; see there for how exact it is. It may be two
// seconds old.
type Stats = tasks.Stats

// StatsBucket is what happened within a step of tasks.StatsStep.
type StatsBucket = tasks.StatsBucket

// RemovedBucket counts desktops by how long it took until access was gone.
type RemovedBucket = tasks.RemovedBucket

// StatsStep is the length of a bucket.
const StatsStep = tasks.StatsStep

// Stats gives how each project is doing that the key is for; project may name one.
func (c *Client) Stats(ctx context.Context, project string) ([]Stats, error) {
	q := url.Values{}
	set(q, "project", project)
	items, _, err := list[Stats](ctx, c, "/v1/stats", q, 0, "")
	return items, err
}
