package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// planPatience is how long the answer to POST /v1/plans waits for a plan to be
	// read: a small one is whole by then.
	planPatience = 2 * time.Second
	// largePlan has more rows than this. This process reads so many of them at a time,
	// as each is held in memory; smaller ones need no turn.
	largePlan, largePlans = 1000, 4
)

// createPlan is POST /v1/plans: what a request would do. It is one of those who may
// have it done, as it says who has which desktop. 202 says that it is not all read yet,
// or could not be.
func (s *server) createPlan(r *request) error {
	in, ignored, err := r.decodeRequest()
	if err != nil {
		return err
	}
	req := in.Task(r.key.Name)
	if err := s.Store.Producer.Validate(req); err != nil {
		return err
	}
	if !r.sees(in.Project) {
		return problem(http.StatusForbidden, "project_not_allowed", "the key is not for project %s", in.Project)
	}
	plan, err := s.record.CreatePlan(r.Context(), s.Now(), planOwner(r.key), req.Canonical())
	if err != nil {
		return err
	}
	read, err := s.readOn(r.Context(), plan)
	if err != nil {
		return err
	}
	select {
	case <-read:
	case <-time.After(s.planPatience):
	case <-r.Context().Done():
	}
	if plan, err = s.record.Plan(r.Context(), plan.ID); err != nil {
		return err
	}
	r.w.Header().Set("Location", "/v1/plans/"+plan.ID)
	status := http.StatusAccepted
	if plan.State == tasks.PlanDone {
		status = http.StatusOK
	}
	return s.answerPlan(r, status, plan, api.Plan{IgnoredColumns: ignored}, largestPage, "")
}

// planOwner is whose a plan is. Within the command line there are no keys, and the name
// is the person's.
func planOwner(k access.Key) string { return cmp.Or(k.ID, "name:"+k.Name) }

// getPlan is GET /v1/plans/{id}. That somebody asks has it read on.
func (s *server) getPlan(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	plan, err := s.record.Plan(r.Context(), r.vars["id"])
	if errors.Is(err, tasks.ErrNoPlan) || err == nil && (plan.Owner != planOwner(r.key) || !r.sees(plan.Project)) {
		return noPlan()
	}
	if err != nil {
		return err
	}
	if _, err := s.readOn(r.Context(), plan); err != nil {
		return err
	}
	return s.answerPlan(r, http.StatusOK, plan, api.Plan{}, size, q.text("page_token"))
}

func noPlan() error {
	return problem(http.StatusNotFound, "plan_not_found", "there is no such plan of this key, or it was not asked for within an hour")
}

// readOn has a plan read on by this process, unless another does. read is closed when
// this one ends to; nil if it does not.
func (s *server) readOn(ctx context.Context, plan record.Plan) (read <-chan struct{}, err error) {
	planner, err := s.Store.Planner(plan.Project, s.Log)
	if err != nil {
		return nil, err
	}
	free, done := plan.State == tasks.PlanReading, func() {}
	if free && plan.Total > largePlan {
		select {
		case s.plans <- struct{}{}:
			done = func() { <-s.plans }
		default:
			free = false // whoever asks next tries again
		}
	}
	work, err := s.record.TakePlan(ctx, plan, free)
	if err != nil || work == nil {
		done()
		if errors.Is(err, tasks.ErrNoPlan) {
			err = noPlan()
		}
		return nil, err
	}
	ended := make(chan struct{})
	s.Store.Go(func(ctx context.Context) {
		defer close(ended)
		defer done()
		if err := planner.Read(ctx, work); err != nil {
			s.Log.Warn().Err(err).Str("plan", plan.ID).Msg("a plan was left, and is read on when somebody asks for it")
		}
	})
	return ended, nil
}

func (s *server) answerPlan(r *request, status int, plan record.Plan, out api.Plan, size int, token string) error {
	out.Plan = plan.Plan
	rows, next, err := s.record.PlanRows(r.Context(), plan, size, token)
	if errors.Is(err, tasks.ErrNoPlan) {
		return noPlan()
	}
	if err != nil {
		return err
	}
	out.Items, out.NextPageToken = append([]tasks.Planned{}, rows...), next
	return r.answer(status, out)
}
