package api

import (
	"context"

	"github.com/detachd/detachd/tasks"
)

// Plan is what a request would do if it ran now: who would be cut off, what would
// be held and why.
type Plan struct {
	Times
	Items []tasks.Planned `json:"items"` // never null; first desktops, then users, then the desktops found by them
	Left  int             `json:"left"`  // desktops and users that were not looked at, as there are more than tasks.MaxPlanned

	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list
}

// Plan has the cloud read, and nothing written. That the cloud does not answer, or
// refuses, is a *Problem with the code cloud.
func (c *Client) Plan(ctx context.Context, r OperationRequest) (Plan, error) {
	return call[Plan](ctx, c, request{method: "POST", path: "/v1/plans", body: r})
}
