package api

import (
	"context"
	"net/url"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Stats is how a project is doing: what needs a person, what is moving, and what
// came of the last day.
type Stats struct {
	Project  string               `json:"project"`
	Pause    *tasks.Pause         `json:"pause,omitempty"`
	Counts   tasks.Counts         `json:"counts"` // queued, sending and accepted: now; failed and held: not taken up again; the others: of the last 24 hours
	Failures []tasks.FailureCount `json:"failures"`
	// Waiting is how many tasks (chunks of at most 100 desktops) wait in the queue,
	// and OldestMS for how long the first of them has.
	Waiting        int     `json:"waiting"`
	OldestMS       int64   `json:"oldest_ms"`
	CallsPerSecond float64 `json:"calls_per_second"` // of the last minute
	Throttled      int     `json:"throttled"`        // calls that the cloud turned away in the last hour
	// Buckets are the last 24 hours in steps of StatsStep, the earliest first, those
	// without anything included. Counts of a worker that was killed lack its last
	// seconds; the record is the truth, this is for looking at.
	Buckets []StatsBucket `json:"buckets"`
	// Removed counts desktops of the last 24 hours by how long it took from being
	// due to the proof.
	Removed []RemovedBucket `json:"access_removed"`
}

// StatsStep is the length of a bucket.
const StatsStep = 15 * time.Minute

// StatsBucket is what happened within a step.
type StatsBucket struct {
	From      time.Time `json:"from"`
	Calls     int       `json:"calls"`
	Throttled int       `json:"throttled"`
	Detached  int       `json:"detached"`
	Failed    int       `json:"failed"`
	Held      int       `json:"held"`
	Cancelled int       `json:"cancelled"`
	Retried   int       `json:"retried"` // refusals that were tried again
}

// RemovedBucket counts the desktops that took at most so long, and longer than
// the bucket before says. The last has no limit: 0.
type RemovedBucket struct {
	AtMostSeconds int `json:"at_most_seconds"`
	Desktops      int `json:"desktops"`
}

// Stats gives how each project is doing that the key is for; project may name one.
func (c *Client) Stats(ctx context.Context, project string) ([]Stats, error) {
	q := url.Values{}
	set(q, "project", project)
	items, _, err := list[Stats](ctx, c, "/v1/stats", q, 0, "")
	return items, err
}
