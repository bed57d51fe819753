package worker

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func newCall(id, worker string, at time.Time, took time.Duration, size int, res *apiclient.DetachResult, err error) *record.Call {
	c := &record.Call{Call: tasks.Call{ID: id, At: at, DurationMS: took.Milliseconds(), Size: size, Worker: worker, Answered: true}}
	if err == nil {
		c.Status, c.RequestID, c.JobID, c.SuccessJobIDs = res.Status, res.RequestID, res.JobID, res.SuccessJobIDs
		c.Refused = len(res.Failed)
		return c
	}
	e := asAPIError(err)
	c.Status, c.RequestID, c.Code, c.Message = e.Status, e.RequestID, e.Code, e.Message
	c.Answered = e.Status != 0
	return c
}

// notAPI is the code of a call that something else than the API answered.
const notAPI = "NOT_API"

// asAPIError gives an error the client's shape, so that every failure has a
// code and a text.
func asAPIError(err error) apiclient.Error {
	var e *apiclient.Error
	if !errors.As(err, &e) {
		return apiclient.Error{Code: "NO_REPLY", Message: err.Error()}
	}
	out := *e
	if out.Code == "" && out.Status != 0 {
		out.Code = "HTTP_" + strconv.Itoa(out.Status)
	}
	switch {
	case e.Local:
		out.Code = "BAD_REQUEST"
	case e.NotAPI:
		out.Code = notAPI
	}
	out.Code = cmp.Or(out.Code, "NO_REPLY")
	if out.Message == "" && out.Err != nil {
		out.Message = out.Err.Error()
	}
	return out
}

func (s *sender) logCall(group []*item, call *record.Call, err error) {
	ev := s.log.Info()
	if err != nil {
		ev = s.log.Warn().Err(err).Str("class", string(s.policy.Call(err)))
	}
	if !ev.Enabled() {
		return
	}
	ops := make([]string, 0, 1)
	for _, it := range group {
		ops = append(ops, it.job.op.ID)
	}
	slices.Sort(ops)
	ops = slices.Compact(ops)
	if len(ops) > 5 {
		ev = ev.Int("more_operations", len(ops)-5)
		ops = ops[:5]
	}
	ev.Str("project", s.project.Alias).Str("call", call.ID).Strs("operations", ops).Int("desktops", len(group)).
		Int("status", call.Status).Str("code", call.Code).Str("request_id", call.RequestID).Str("job_id", call.JobID).
		Dur("took_ms", call.Duration()).Msg("detach call")
}
