package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// planPatience is how long POST /v1/plans waits for a plan to be read; enough for a
	// small one.
	planPatience = 2 * time.Second
	// A plan with more than largePlan rows needs a semaphore: each is held in memory, so
	// this process reads at most maxLargePlans at a time, and half as many of one key.
	largePlan, maxLargePlans = 1000, 4
)

// createPlan is POST /v1/plans: what a request would do. It requires the producer role,
// because the answer reveals who uses which desktop. 202 means not read to the end, yet or
// at all.
func (s *server) createPlan(r *request) error {
	in, ignored, err := r.decodeRequest()
	if err != nil {
		return err
	}
	create := s.planRequest
	if in.Operation != "" {
		create = s.planOperation
	}
	plan, err := create(r, in)
	if err != nil {
		return err
	}
	read, err := s.continuePlan(r.Context(), plan)
	if err != nil {
		return err
	}
	s.await(r, read)
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

// planRequest creates the plan of a request.
func (s *server) planRequest(r *request, in planRequest) (record.Plan, error) {
	if in.Plan != "" {
		return record.Plan{}, fault("/plan", "is a field of POST /v1/operations, which runs a plan: leave it out")
	}
	if in.Project != "" && !r.maySee(in.Project) { // as in createOperation
		return record.Plan{}, wrongProject(in.Project)
	}
	req := in.Task(r.key.Name)
	req.Owner = r.key.Owner
	if err := s.Store.Producer.Validate(req); err != nil {
		return record.Plan{}, err
	}
	if err := s.Store.Producer.Protected(r.Context(), req); err != nil {
		return record.Plan{}, err
	}
	act := s.act(r, tasks.AuditPlanCreated, in.Project, "", in.Reason)
	act.Event.Detail = rowsText(len(in.Desktops), len(in.Users), len(in.Computers))
	plan, err := s.record.CreatePlan(r.Context(), s.Now(), planOwner(r.key), req.Canonical(), act.begins)
	return plan, act.End(err)
}

// planOperation creates the plan of what is left of an operation that waits.
func (s *server) planOperation(r *request, in planRequest) (record.Plan, error) {
	rest := in.OperationRequest
	rest.Reason = ""
	if !reflect.DeepEqual(rest, api.OperationRequest{}) {
		return record.Plan{}, fault("/operation", "is given together with fields of a request: give it alone, or with a reason")
	}
	if err := checkReason(in.Reason); err != nil {
		return record.Plan{}, err
	}
	op, err := s.operationOf(r, in.Operation)
	if err != nil {
		return record.Plan{}, err
	}
	if op.UndoOf != "" {
		return record.Plan{}, fault("/operation", "is an undo, which is approved without a plan")
	}
	act := s.act(r, tasks.AuditPlanCreated, op.Project, "", in.Reason)
	act.Event.Detail = "of operation " + op.ID
	plan, err := s.record.CreatePlanOf(r.Context(), s.Now(), planOwner(r.key), op, act.begins)
	return plan, act.End(err)
}

// planOwner is the owner of a plan. At the command line there are no keys, only the name
// of a person.
func planOwner(k access.Key) string { return cmp.Or(k.ID, "name:"+k.Name) }

// getPlan is GET /v1/plans/{id}. Asking continues the reading.
func (s *server) getPlan(r *request) error {
	q := r.query("page_size", "page_token")
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	plan, err := s.record.Plan(r.Context(), r.vars["id"])
	if err == nil && plan.Owner != planOwner(r.key) {
		r.hidden = true
	}
	if errors.Is(err, tasks.ErrNoPlan) || err == nil && (r.hidden || !r.maySee(plan.Project)) {
		return tasks.ErrNoPlan
	}
	if err != nil {
		return err
	}
	if _, err := s.continuePlan(r.Context(), plan); err != nil {
		return err
	}
	return s.answerPlan(r, http.StatusOK, plan, api.Plan{}, size, q.text("page_token"))
}

// continuePlan reads the rest of a plan in this process, unless another process does. read
// is closed when this process has ended; nil if it does not read.
func (s *server) continuePlan(ctx context.Context, plan record.Plan) (read <-chan struct{}, err error) {
	planner, err := s.Store.Planner(plan.Project, s.Log)
	if err != nil {
		return nil, err
	}
	r := reading{owner: plan.Owner, free: plan.State == tasks.PlanReading, large: plan.Total > largePlan, what: "plan " + plan.ID}
	return s.readOn(r, func(free bool) (func(context.Context) error, error) {
		work, err := s.record.TakePlan(ctx, plan, free)
		if err != nil || work == nil {
			return nil, err
		}
		return func(ctx context.Context) error { return planner.Read(ctx, work) }, nil
	})
}

// reading is what readOn reads.
type reading struct {
	owner       string
	free, large bool // it is not done; it takes much memory
	what        string
}

// readOn reads in the background what take gives: nil if it is not free, or another process reads it.
func (s *server) readOn(r reading, take func(free bool) (func(context.Context) error, error)) (read <-chan struct{}, err error) {
	release := func() {}
	if r.free && r.large {
		if turn, ok := s.largePlans.try(r.owner); ok {
			release = turn
		} else {
			r.free = false // the next request for it tries again
		}
	}
	on, err := take(r.free)
	if err != nil || on == nil {
		release()
		return nil, err
	}
	ended := make(chan struct{})
	s.Store.Go(func(ctx context.Context) {
		defer close(ended)
		defer release()
		if err := on(ctx); err != nil {
			s.Log.Warn().Err(err).Msg("reading the " + r.what + " was interrupted; it continues with the next request for it")
		}
	})
	return ended, nil
}

// await waits for the end of a reading, but not longer than a caller would.
func (s *server) await(r *request, read <-chan struct{}) {
	select {
	case <-read:
	case <-time.After(s.planPatience):
	case <-r.Context().Done():
	}
}

func (s *server) answerPlan(r *request, status int, plan record.Plan, out api.Plan, size int, token string) error {
	out.Plan = plan.Plan
	rows, next, err := s.record.PlanRows(r.Context(), plan, size, token)
	if err != nil {
		return err
	}
	if next, err = r.sealToken(next); err != nil {
		return err
	}
	out.Items, out.NextPageToken = append([]tasks.Planned{}, rows...), next
	return r.answer(status, out)
}
