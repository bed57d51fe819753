package server

import (
	"net/http"
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// decision reads the body of an answer to a question, whose reason is required.
func (r *request) decision() (api.Decision, error) {
	var in api.Decision
	if err := r.decode(&in, true); err != nil {
		return in, err
	}
	return in, requireReason(in.Reason)
}

func requireReason(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return fault("/reason", "is required: say why, for those who ask later")
	}
	return checkReason(reason)
}

// approveOperation is POST /v1/operations/{id}:approve.
func (s *server) approveOperation(r *request) error {
	var in api.ApproveRequest
	if err := r.decode(&in, true); err != nil {
		return err
	}
	return s.decide(r, tasks.AuditOperationApproved, in.Reason, func(op record.Operation) error {
		a := tasks.Approval{By: r.key.Name, Owner: r.key.Owner, Reason: in.Reason, Plan: in.Plan, PlanOwner: planOwner(r.key)}
		_, err := s.Store.Producer.Approve(r.Context(), op, a)
		return err
	}, func(op record.Operation) error {
		if in.Plan == "" && op.AwaitsApproval() && op.Clearance.Why == tasks.WhyLimit && !refusedAnyway(op, r.key) {
			return fault("/plan", "is required, so that exactly what was shown is approved: "+
				`POST /v1/plans with {"operation":%q} gives its hash`, op.ID)
		}
		return nil
	})
}

// refusedAnyway reports whether a key cannot approve an operation, with whatever plan: that is
// what its owner must know.
func refusedAnyway(op record.Operation, k access.Key) bool {
	return op.Clearance.Desktops > op.Clearance.SecondPersonAbove && op.SamePerson(k.Name, k.Owner)
}

// rejectOperation is POST /v1/operations/{id}:reject.
func (s *server) rejectOperation(r *request) error {
	var in api.Decision
	if err := r.decode(&in, true); err != nil {
		return err
	}
	return s.decide(r, tasks.AuditOperationRejected, in.Reason, func(op record.Operation) error {
		_, err := s.Store.Producer.Reject(r.Context(), op, r.key.Name, in.Reason)
		return err
	})
}

// decide makes the decision about the operation of the path, unless a check refuses it.
func (s *server) decide(
	r *request, action tasks.AuditAction, reason string, answer func(record.Operation) error, checks ...func(record.Operation) error,
) error {
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	if err := requireReason(reason); err != nil {
		return err
	}
	for _, check := range checks {
		if err := check(op); err != nil {
			return err
		}
	}
	if err := s.act(r, action, op.Project, op.ID, reason).Do(func() error { return answer(op) }); err != nil {
		return err
	}
	if op, err = s.operation(r); err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.StateOf(op.Operation, s.Now()))
}

// stopAll is POST /v1/projects:stop.
func (s *server) stopAll(r *request) error {
	in, err := r.decision()
	if err != nil {
		return err
	}
	if err := r.seesAll(); err != nil {
		return err
	}
	err = s.act(r, tasks.AuditStopped, "", "", in.Reason).Do(func() error {
		_, err := s.record.StopAll(r.Context(), r.key.Name+": "+in.Reason)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Stopped{Stopped: true})
}

// resumeAll is POST /v1/projects:resume.
func (s *server) resumeAll(r *request) error {
	in, err := r.decision()
	if err != nil {
		return err
	}
	if err := r.seesAll(); err != nil {
		return err
	}
	err = s.act(r, tasks.AuditStopEnded, "", "", in.Reason).Do(func() error {
		_, err := s.record.ResumeAll(r.Context())
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Stopped{})
}

// seesAll refuses keys that are bound to projects: the stop is one for the whole fleet.
func (r *request) seesAll() error {
	if len(r.key.Projects) > 0 {
		return problem(http.StatusForbidden, "key_bound",
			"the key is bound to projects, and this concerns all of them; nothing was changed: use a key that is not bound, or pause its projects")
	}
	return nil
}
