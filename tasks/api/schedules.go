package api

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/detachd/detachd/tasks"
)

// ScheduleRequest is the body of POST /v1/schedules; see tasks.Schedule for the meaning of each
// field.
type ScheduleRequest struct {
	Name               string                `json:"name"`
	Project            string                `json:"project"`
	Cron               string                `json:"cron"`
	Zone               string                `json:"zone,omitempty"`
	Source             tasks.ScheduleSource  `json:"source"`
	UnknownUsers       string                `json:"unknown_users,omitempty"`
	AllowShared        bool                  `json:"allow_shared,omitempty"`
	ShutoffAfterDetach bool                  `json:"shutoff_after_detach,omitempty"`
	Urgent             bool                  `json:"urgent,omitempty"`
	Reason             string                `json:"reason,omitempty"`
	Ticket             string                `json:"ticket,omitempty"`
	Start              time.Time             `json:"start,omitzero"`
	End                time.Time             `json:"end,omitzero"`
	Missed             tasks.ScheduleMissed  `json:"missed,omitempty"`
	CatchUp            tasks.Duration        `json:"catch_up,omitzero"`
	Overlap            tasks.ScheduleOverlap `json:"overlap,omitempty"`
	PauseOnFailure     bool                  `json:"pause_on_failure,omitempty"`
	Note               string                `json:"note,omitempty"`
	// ValidateOnly checks everything and answers with the next ticks, and adds nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`
}

// Schedule is what the request asks for.
func (r ScheduleRequest) Schedule() tasks.Schedule {
	return tasks.Schedule{
		Name: r.Name, Project: r.Project, Cron: r.Cron, Zone: r.Zone, Source: r.Source,
		UnknownUsers: r.UnknownUsers, AllowShared: r.AllowShared, ShutoffAfterDetach: r.ShutoffAfterDetach, Urgent: r.Urgent,
		Reason: r.Reason, Ticket: r.Ticket, Start: r.Start, End: r.End,
		Missed: r.Missed, CatchUp: r.CatchUp, Overlap: r.Overlap, PauseOnFailure: r.PauseOnFailure, Note: r.Note,
	}
}

// TicksRequest is the body of POST /v1/schedules:preview.
type TicksRequest struct {
	Cron  string    `json:"cron"`
	Zone  string    `json:"zone,omitempty"` // empty: UTC
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	Count int       `json:"count,omitempty"` // 1 to 100; 0: 10
}

// AskedRun is the answer to :run. The run is the one with this id in the view of the schedule.
type AskedRun struct {
	Schedule string `json:"schedule"`
	Run      string `json:"run"`
}

func schedulePath(name, rest string) string { return "/v1/schedules/" + segment(name) + rest }

// Schedules lists the schedules by name, each with its last run and its next tick; project may
// be empty.
func (c *Client) Schedules(
	ctx context.Context, project string, size int, token string,
) (items []tasks.ScheduleView, next string, err error) {
	q := url.Values{}
	set(q, "project", project)
	return list[tasks.ScheduleView](ctx, c, "/v1/schedules", q, size, token)
}

// FailingSchedules is Schedules of those whose last run failed.
func (c *Client) FailingSchedules(ctx context.Context, size int, token string) (items []tasks.ScheduleView, next string, err error) {
	return list[tasks.ScheduleView](ctx, c, "/v1/schedules", url.Values{"failing": {"true"}}, size, token)
}

// Schedule reads a schedule with its last runs and its next ticks.
func (c *Client) Schedule(ctx context.Context, name string) (tasks.ScheduleView, error) {
	return call[tasks.ScheduleView](ctx, c, request{method: "GET", path: schedulePath(name, "")})
}

// AddSchedule adds a schedule. Its first tick is after now.
func (c *Client) AddSchedule(ctx context.Context, req ScheduleRequest) (tasks.ScheduleView, error) {
	req.ValidateOnly = false
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: "/v1/schedules", body: req})
}

// ValidateSchedule is AddSchedule, but adds nothing.
func (c *Client) ValidateSchedule(ctx context.Context, req ScheduleRequest) (tasks.ScheduleView, error) {
	req.ValidateOnly = true
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: "/v1/schedules", body: req})
}

// NextTicks lists the next ticks of a schedule, at most 100; 0: 10.
func (c *Client) NextTicks(ctx context.Context, name string, count int) ([]tasks.ScheduleTick, error) {
	q := url.Values{}
	if count > 0 {
		q.Set("count", strconv.Itoa(count))
	}
	items, _, err := list[tasks.ScheduleTick](ctx, c, schedulePath(name, "/next"), q, 0, "")
	return items, err
}

// PreviewTicks lists the ticks that a schedule would have.
func (c *Client) PreviewTicks(ctx context.Context, req TicksRequest) ([]tasks.ScheduleTick, error) {
	p, err := call[Page[tasks.ScheduleTick]](ctx, c, request{method: "POST", path: "/v1/schedules:preview", body: req})
	return p.Items, err
}

// RunSchedule asks for a run now, besides the ticks. A worker begins it. idempotency may be
// empty; with the same one, a run is asked for once until it has ended.
func (c *Client) RunSchedule(ctx context.Context, name, reason, idempotency string) (AskedRun, error) {
	return call[AskedRun](ctx, c, request{
		method: "POST", path: schedulePath(name, ":run"), body: ReasonRequest{reason}, idempotency: idempotency,
	})
}

// PauseSchedule makes the ticks of a schedule be skipped; the reason is required.
func (c *Client) PauseSchedule(ctx context.Context, name, reason string) (tasks.ScheduleView, error) {
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: schedulePath(name, ":pause"), body: Decision{reason}})
}

// ResumeSchedule ends a pause. Ticks that passed meanwhile do not run.
func (c *Client) ResumeSchedule(ctx context.Context, name, reason string) (tasks.ScheduleView, error) {
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: schedulePath(name, ":resume"), body: ReasonRequest{reason}})
}

// SkipTick makes the next tick of a schedule be skipped.
func (c *Client) SkipTick(ctx context.Context, name, reason string) (tasks.ScheduleView, error) {
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: schedulePath(name, ":skip"), body: ReasonRequest{reason}})
}

// UnskipTick takes a skip back.
func (c *Client) UnskipTick(ctx context.Context, name, reason string) (tasks.ScheduleView, error) {
	return call[tasks.ScheduleView](ctx, c, request{method: "POST", path: schedulePath(name, ":unskip"), body: ReasonRequest{reason}})
}

// RemoveSchedule removes a schedule and what is known of its runs; the reason is required. Its
// operations stay.
func (c *Client) RemoveSchedule(ctx context.Context, name, reason string) (tasks.Schedule, error) {
	return call[tasks.Schedule](ctx, c, request{method: "POST", path: schedulePath(name, ":remove"), body: Decision{reason}})
}
