package api

import (
	"context"
	"io"
	"net/url"

	"github.com/detachd/detachd/tasks"
)

// AccessReviewRequest is the body of POST /v1/access-reviews.
type AccessReviewRequest struct {
	Since   Since  `json:"since"`
	Project string `json:"project,omitempty"` // empty: all that the key sees
}

// ReviewAccess begins to read who of the people that were detached since a time has a desktop
// again. If that takes at most two seconds, its state is tasks.PlanDone; else it is
// tasks.PlanReading, to be polled with AccessReview.
func (c *Client) ReviewAccess(ctx context.Context, r AccessReviewRequest) (tasks.AccessReview, error) {
	return call[tasks.AccessReview](ctx, c, request{method: "POST", path: "/v1/access-reviews", body: r})
}

// AccessReview reads the progress of a review. Reading continues for a minute after each
// request for it, and it is deleted after an hour without one. Only the key that created it
// can read it. Check Complete: a project that could not be read is in Projects, with the reason.
func (c *Client) AccessReview(ctx context.Context, id string) (tasks.AccessReview, error) {
	return call[tasks.AccessReview](ctx, c, request{method: "GET", path: "/v1/access-reviews/" + segment(id)})
}

// CameBack lists what a review that is done has found, by project and name; size is 1 to 1000
// (0: 100).
func (c *Client) CameBack(ctx context.Context, review string, size int, token string) (items []tasks.Returned, next string, err error) {
	return list[tasks.Returned](ctx, c, "/v1/access-reviews/"+segment(review)+"/items", url.Values{}, size, token)
}

// CameBackCSV writes all items of a review that is done, and the projects that could not be
// read. After an error the file is incomplete.
func (c *Client) CameBackCSV(ctx context.Context, w io.Writer, review string) error {
	path, q := "/v1/access-reviews/"+segment(review)+"/items", url.Values{"format": {"csv"}}
	return c.download(ctx, w, request{method: "GET", path: path, query: q, kinds: []string{"text/csv"}}, review)
}
