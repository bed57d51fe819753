package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

var errAnswerTooSlow = errors.New("the answer was not ready in time")

// maxFaults limits the faults that an answer lists.
const maxFaults = 100

func problem(status int, code, format string, args ...any) *api.Problem {
	return &api.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func fault(pointer, format string, args ...any) *api.Problem {
	return invalidRequest(api.Fault{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

func invalidRequest(faults ...api.Fault) *api.Problem {
	p := problem(http.StatusBadRequest, api.CodeInvalid, "the request is invalid and nothing was changed: correct it, then send it again")
	p.Errors = faults
	return p
}

// problemOf turns an error into one for the caller. The text of an unknown error stays in
// the log.
func problemOf(err error) *api.Problem {
	var p *api.Problem
	var invalid *tasks.ValidationError
	var protected *tasks.ProtectedError
	var same *tasks.SamePersonError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalid):
		return invalidRequest(faultsOf(invalid.Problems)...)
	case errors.As(err, &protected):
		p = problem(http.StatusUnprocessableEntity, "protected",
			"the request names what is protected; nothing was changed: leave that out, or an admin removes the rule")
		p.Errors = faultsOf(protected.Problems)
		return p
	case errors.Is(err, tasks.ErrKeyReused):
		return problem(http.StatusUnprocessableEntity, api.CodeKeyReused,
			"the Idempotency-Key was used before for a request with other content; nothing was changed: use a new key")
	case errors.Is(err, tasks.ErrSendAgain):
		p = problem(http.StatusServiceUnavailable, redisfault.Away, "%v, with the same Idempotency-Key", err)
		p.RetryAfter = time.Second
		return p
	case errors.As(err, &same):
		return problem(http.StatusForbidden, "same_person", "%v", same)
	case errors.Is(err, tasks.ErrNotWaiting):
		return problem(http.StatusConflict, "not_waiting",
			"the operation does not wait for an approval; nothing was changed: it was decided on, cancelled or retried meanwhile")
	case errors.Is(err, tasks.ErrNothingToUndo):
		return problem(http.StatusConflict, "nothing_to_undo", "nothing was changed: %v", err)
	case errors.Is(err, tasks.ErrNoPlan):
		return problem(http.StatusNotFound, "plan_not_found",
			"this key has no such plan, or nobody read it for an hour; nothing was changed: create it again")
	case errors.Is(err, tasks.ErrNoReview):
		return problem(http.StatusNotFound, "review_not_found",
			"this key has no such review of access, or nobody read it for an hour: create it again")
	case errors.Is(err, tasks.ErrPlanExpired):
		return problem(http.StatusConflict, "plan_expired",
			"the plan is more than an hour old, or its times have passed; nothing was changed: create it again, and read what it shows")
	case errors.Is(err, tasks.ErrPlanChanged):
		return problem(http.StatusConflict, "plan_changed",
			"the plan is not of what is left of this operation; nothing was changed: create a plan of the operation, and read what it shows")
	case errors.Is(err, tasks.ErrProtectionExists):
		return problem(http.StatusConflict, "protection_exists", "%v; nothing was changed: use another name", tasks.ErrProtectionExists)
	case errors.Is(err, tasks.ErrTooManyProtections):
		return problem(http.StatusConflict, "too_many_protections", "%v", tasks.ErrTooManyProtections)
	case errors.Is(err, tasks.ErrNoProtection):
		return problem(http.StatusNotFound, "protection_not_found", "there is no such protection; nothing was changed: check the name")
	case errors.Is(err, tasks.ErrNoSchedule):
		return problem(http.StatusNotFound, "schedule_not_found", "there is no such schedule; nothing was changed: check the name")
	case errors.Is(err, tasks.ErrScheduleExists):
		return problem(http.StatusConflict, "schedule_exists", "%v; nothing was changed: use another name", tasks.ErrScheduleExists)
	case errors.Is(err, tasks.ErrScheduleConfigured):
		return problem(http.StatusConflict, "schedule_configured",
			"the schedule is in the configuration; nothing was changed: change it in the files of workers and servers, and restart them")
	case errors.Is(err, tasks.ErrTooManySchedules):
		return problem(http.StatusConflict, "too_many_schedules", "%v", tasks.ErrTooManySchedules)
	case errors.Is(err, tasks.ErrTooManyRuns):
		return problem(http.StatusConflict, "too_many_runs", "%v", tasks.ErrTooManyRuns)
	case errors.Is(err, tasks.ErrNoTick):
		return problem(http.StatusConflict, "no_such_tick", "%v; nothing was changed: read the schedule", tasks.ErrNoTick)
	case errors.Is(err, tasks.ErrTooManyRecalls):
		return problem(http.StatusConflict, "too_many_recalls", "nothing was changed: %v", tasks.ErrTooManyRecalls)
	case errors.Is(err, tasks.ErrTooMany):
		return problem(http.StatusUnprocessableEntity, "too_many", "%v", tasks.ErrTooMany)
	case errors.Is(err, tasks.ErrTooManyOperations):
		return problem(http.StatusUnprocessableEntity, "too_many", "%v", tasks.ErrTooManyOperations)
	case errors.Is(err, tasks.ErrNotFound):
		return problem(http.StatusNotFound, api.CodeNotFound, "this operation does not exist, or its retention is over: check the id")
	case errors.Is(err, tasks.ErrPageToken):
		p := fault("page_token", "was not issued here: begin with the first page")
		p.Code = api.CodePageToken
		return p
	case errors.Is(err, report.ErrRecordAltered):
		return problem(http.StatusConflict, api.CodeRecordAltered, "no report: the record was altered, it contradicts itself; the log says where")
	case errors.Is(err, report.ErrUnsettled):
		return problem(http.StatusConflict, api.CodeUnsettled, "no report: the operation changed while it was read; ask again in a minute")
	}
	if errors.Is(err, errAnswerTooSlow) {
		return problem(http.StatusServiceUnavailable, redisfault.Away,
			"%v: Redis or this server is too slow now; the request may not have taken effect: send it again, with the same Idempotency-Key",
			errAnswerTooSlow)
	}
	if f := redisfault.Of(err); f != nil {
		p = problem(http.StatusServiceUnavailable, f.Code,
			"%s; the request may not have taken effect: send it again, with the same Idempotency-Key", f.Meaning)
		p.RetryAfter = f.RetryAfter
		return p
	}
	return problem(http.StatusInternalServerError, "internal", "an internal error; the request may not have taken effect. The log has more")
}

// faultsOf names the first problems of a request by their places in its body.
func faultsOf(problems []tasks.Problem) []api.Fault {
	out := make([]api.Fault, 0, min(maxFaults, len(problems)))
	for _, x := range problems[:min(maxFaults, len(problems))] {
		out = append(out, api.Fault{Pointer: pointerOf(x.Field), Detail: x.Message})
	}
	return out
}

// refuse answers with a problem and returns its status.
func (s *server) refuse(r *request, err error) int {
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(r.Context()), errAnswerTooSlow) {
		err = fmt.Errorf("%w: %w", errAnswerTooSlow, err)
	}
	p := *problemOf(err)
	if s.Local && r.failInside(err) {
		return p.Status
	}
	p.Type, p.RequestID, p.TraceID = "/docs#problem-"+p.Code, r.id, r.traceID()
	if p.Status >= 500 || p.Code == api.CodeRecordAltered {
		line := s.Log.Error().Err(err).Func(r.tag).Str("path", r.URL.Path).Str("code", p.Code)
		if f := redisfault.ByCode(p.Code); f != nil {
			line.Str("next", f.Advice)
		}
		line.Msg("a request failed")
	}
	if p.Status == http.StatusServiceUnavailable && p.RetryAfter == 0 {
		p.RetryAfter = 5 * time.Second
	}
	if p.RetryAfter > 0 {
		r.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	r.w.Header().Set("Content-Type", "application/problem+json")
	r.w.WriteHeader(p.Status)
	_ = encode(r.w, p) // fails only if the caller is gone
	return p.Status
}

// answer writes JSON.
func (r *request) answer(status int, v any) error {
	r.w.Header().Set("Content-Type", "application/json")
	r.w.WriteHeader(status)
	r.status = status
	_ = encode(r.w, v)
	return nil
}

// encode writes one line of JSON that a terminal may show.
func encode(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(harmless.JSON(text), '\n'))
	return err
}
