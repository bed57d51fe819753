package worker

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// fault is an error of a request, and what it means.
type fault struct {
	err   error           // nil: there was none
	api   apiclient.Error // the same, with a code and a text in any case
	class tasks.Class
}

func (s *shared) faultOf(err error) fault {
	if err == nil {
		return fault{}
	}
	return fault{err: err, api: asAPIError(err), class: s.rules.Call(err)}
}

// outcome is what is known of a call when it is over.
type outcome struct {
	fault
	call   *record.Call
	result *apiclient.DetachResult // nil after a fault
}

func (s *shared) outcomeOf(call record.Call, res *apiclient.DetachResult, err error) outcome {
	out := outcome{fault: s.faultOf(err), call: &call, result: res}
	call.Answered = true
	if err == nil {
		call.Status, call.RequestID, call.JobID, call.SuccessJobIDs = res.Status, res.RequestID, res.JobID, res.SuccessJobIDs
		call.Refused = len(res.Failed)
		return out
	}
	call.Status, call.RequestID, call.Code, call.Message = out.api.Status, out.api.RequestID, out.api.Code, out.api.Message
	call.Answered = out.api.Status != 0
	return out
}

// failure returns the failure of a desktop in the call.
func (o outcome) failure() *tasks.Failure {
	return &tasks.Failure{
		Code: o.api.Code, Message: o.api.Message, Class: o.class, Status: o.api.Status,
		RequestID: o.call.RequestID, CallID: o.call.ID,
	}
}

// fromService reports whether the service itself answered. A gateway that gave up waiting,
// or a proxy, does not know what the service is still doing.
func (o outcome) fromService() bool {
	return o.call.Answered && o.call.Code != tasks.CodeNotAPI &&
		o.call.Status != http.StatusBadGateway && o.call.Status != http.StatusGatewayTimeout
}

// asAPIError returns err in the client's shape, so that every failure has a code and a text.
func asAPIError(err error) apiclient.Error {
	e, ok := errors.AsType[*apiclient.Error](err)
	if !ok {
		return apiclient.Error{Code: tasks.CodeNoReply, Message: err.Error()}
	}
	out := *e
	switch {
	case e.Local:
		out.Code = tasks.CodeBadRequest
	case e.NotAPI:
		out.Code = tasks.CodeNotAPI
	case e.Code == "" && e.Status != 0:
		out.Code = "HTTP_" + strconv.Itoa(e.Status)
	}
	out.Code = cmp.Or(out.Code, tasks.CodeNoReply)
	if out.Message == "" && out.Err != nil {
		out.Message = out.Err.Error()
	}
	return out
}

// notSent returns a call that was about to leave as one that did not.
func notSent(call *record.Call, why string) *record.Call {
	c := *call
	c.Code, c.Message = tasks.CodeNotSent, why
	return &c
}

// reportCall reports a call for a group to the observer and the log.
func (s *sender) reportCall(b *batch, group []*item, out outcome) {
	call := out.call
	seen := SeenCall{
		Project: s.project.Alias, Status: call.Status, Code: call.Code, Class: out.class, Desktops: len(group), Took: call.Duration(),
	}
	for _, it := range group {
		seen.Waited = max(seen.Waited, b.begun.Sub(it.since))
	}
	s.cfg.Observer.Call(seen)
	line := s.log.Info()
	if out.err != nil {
		line = s.log.Warn().Err(out.err).Str("class", string(out.class))
	}
	if !line.Enabled() {
		return
	}
	ops := make([]string, 0, 1)
	for _, it := range group {
		ops = append(ops, it.job.op.ID)
	}
	slices.Sort(ops)
	ops = slices.Compact(ops)
	if len(ops) > 5 {
		line = line.Int("more_operations", len(ops)-5)
		ops = ops[:5]
	}
	if call.Trace != "" {
		line = line.Str("trace_id", tasks.TraceID(call.Trace)).Str("span_id", tasks.SpanID(call.Trace))
	}
	line.Str("call", call.ID).Strs("operations", ops).Int("desktops", len(group)).
		Int("status", call.Status).Str("code", call.Code).Str("request_id", call.RequestID).Str("job_id", call.JobID).
		Dur("took_ms", call.Duration()).Msg("detach call")
}

// reportReading reports a request that read to the observer.
func (s *shared) reportReading(of ReadingOf, asked int, begun time.Time, err error) {
	seen := SeenReading{Project: s.project.Alias, Of: of, Asked: asked, Took: time.Since(begun)}
	if err != nil {
		seen.Class = s.rules.Call(err)
	}
	s.cfg.Observer.Reading(seen)
}
