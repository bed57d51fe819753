package server

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// createOperation is POST /v1/operations: 202 and the operation, which is recorded. The
// requester, and the owner of the Idempotency-Key, is the name of the key: keys of the same
// name share it, so that one can replace another.
func (s *server) createOperation(r *request) error {
	in, ignored, err := r.decodeRequest()
	if err != nil {
		return err
	}
	if in.IdempotencyKey, err = r.idempotencyKey(); err != nil {
		return err
	}
	in.Traceparent, in.Tracestate = r.trace, r.tracestate
	req := in.Task(r.key.Name)
	req.Owner = r.key.Owner
	switch {
	case in.Operation != "":
		return fault("/operation", "is a field of POST /v1/plans: leave it out")
	case in.Plan != "" && in.ValidateOnly:
		return fault("/validate_only", "is given together with a plan, which was checked when it was made: leave it out")
	}
	if in.Project != "" && !r.maySee(in.Project) { // before anything else: it is the same if there is no such project
		return wrongProject(in.Project)
	}
	if in.ValidateOnly {
		if err := s.Store.Producer.Refusal(r.Context(), req); err != nil {
			return err
		}
		return r.answer(http.StatusOK, api.Validated{
			Times: api.TimesOf(req, s.Now()), Valid: true, Desktops: len(in.Desktops), Users: len(in.Users), Computers: len(in.Computers),
			IgnoredColumns: ignored,
		})
	}
	act := s.act(r, tasks.AuditOperationCreated, in.Project, "", in.Reason)
	act.Event.Detail = rowsText(len(in.Desktops), len(in.Users), len(in.Computers))
	var op record.Operation
	span := s.Spans.Accept(r.Context(), &req.Trace, &req.Tracestate)
	if in.Plan == "" {
		quota := func(id string) error { return s.takeQuota(r, id, len(req.Desktops)+len(req.Users)+len(req.Computers)) }
		op, err = s.Store.Producer.Enqueue(r.Context(), req, quota, act.begins)
	} else {
		op, err = s.runPlan(r, req, act)
	}
	span.Accepted(op.Operation, op.Replayed, err)
	if err := act.End(err); err != nil {
		return err
	}
	if s.Metrics != nil {
		s.Metrics.Accepted(op.Durability)
	}
	s.estimate(r, &op.Operation)
	r.replayed(op.Replayed)
	r.w.Header().Set("Location", "/v1/operations/"+op.ID)
	return r.answer(http.StatusAccepted, api.Accepted{OperationState: api.StateOf(op.Operation, s.Now()), IgnoredColumns: ignored})
}

// runPlan accepts the operation of a plan, which only the key that made it may run.
func (s *server) runPlan(r *request, req tasks.Request, act *Act) (record.Operation, error) {
	op, err := s.Store.Producer.EnqueuePlan(r.Context(), planOwner(r.key), req, func(id string, whole tasks.Request) error {
		if !r.maySee(whole.Project) {
			return tasks.ErrNoPlan
		}
		act.Event.Project, act.Event.Detail = whole.Project, rowsText(len(whole.Desktops), len(whole.Users), len(whole.Computers))
		if err := s.takeQuota(r, id, len(whole.Desktops)+len(whole.Users)+len(whole.Computers)); err != nil {
			return err
		}
		return act.begins(id)
	})
	if err == nil && !r.maySee(op.Project) { // a key of the same name accepted it
		return op, tasks.ErrNoPlan
	}
	return op, err
}

// rowsText says how much a request names.
func rowsText(desktops, users, computers int) string {
	return fmt.Sprintf("%d desktops, %d users, %d computers", desktops, users, computers)
}

// replayed marks an answer that an earlier request with the same Idempotency-Key got too.
func (r *request) replayed(before bool) {
	if before {
		r.w.Header().Set("Idempotent-Replayed", "true")
	}
}

// idempotencyKey is the header of that name, 1 to 255 printable characters; "" if there is
// none. All characters count, quotes too.
func (r *request) idempotencyKey() (string, error) {
	switch sent := r.Header.Values("Idempotency-Key"); {
	case len(sent) == 0:
		return "", nil
	case len(sent) > 1:
		return "", fault("Idempotency-Key", "is given twice")
	case sent[0] == "":
		return "", fault("Idempotency-Key", "is empty: omit it, or give 1 to 255 printable characters")
	case utf8.RuneCountInString(sent[0]) > 255 || strings.ContainsFunc(sent[0], func(c rune) bool { return !unicode.IsPrint(c) }) ||
		!utf8.ValidString(sent[0]):
		return "", fault("Idempotency-Key", "is not 1 to 255 printable characters")
	default:
		return sent[0], nil
	}
}

// project is the parameter project. A key that is bound to projects must name one, so that
// a page does not depend on what the key may not see.
func (r *request) project(q *query) string {
	project := q.text("project")
	if len(r.key.Projects) > 0 && !slices.Contains(r.key.Projects, project) {
		q.bad("project", "the key is for certain projects: name one of them")
	}
	return project
}

// listOperations is GET /v1/operations, the latest first; with scheduled=true the next to
// start first, with due_before the next to be due.
func (s *server) listOperations(r *request) error {
	q := r.query("project", "requested_by", "ticket", "open", "scheduled", "waiting", "due_before", "from", "to", "page_size", "page_token")
	f := tasks.OperationFilter{
		Project: r.project(q), RequestedBy: q.text("requested_by"), Ticket: q.text("ticket"), Open: q.flag("open"),
		Scheduled: q.flag("scheduled"), Waiting: q.flag("waiting"), DueBefore: q.time("due_before"),
		From: q.time("from"), To: q.time("to"), Now: s.Now(),
	}
	if f.Waiting && (f.Open || f.Scheduled || !f.DueBefore.IsZero()) {
		q.bad("waiting", "an operation that waits for approval is in no other list: give only waiting")
	}
	if f.Open && f.Scheduled {
		q.bad("scheduled", "a scheduled operation is not open: give open or scheduled")
	}
	if f.Scheduled && !f.DueBefore.IsZero() {
		q.bad("due_before", "the list is in the order of start or of due time: give scheduled or due_before")
	}
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	ops, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]record.Operation, string, error) {
		return s.record.Operations(r.Context(), f, n, place)
	}, func(op record.Operation) bool { return r.maySee(op.Project) })
	if err != nil {
		return err
	}
	states := make([]api.OperationState, len(ops))
	for i, op := range ops {
		s.estimate(r, &op.Operation)
		states[i] = api.StateOf(op.Operation, f.Now)
	}
	total, err := s.record.CountOperations(r.Context(), f)
	return answerCounted(r, states, next, total, err)
}

// operation reads the operation of the path. Operations of projects that the key cannot
// see are not found.
func (s *server) operation(r *request) (record.Operation, error) {
	return s.operationOf(r, r.vars["id"])
}

func (s *server) operationOf(r *request, id string) (record.Operation, error) {
	op, err := s.record.Operation(r.Context(), id)
	if err == nil && !r.maySee(op.Project) {
		err = tasks.ErrNotFound
	}
	return op, err
}

// getOperation is GET /v1/operations/{id}. access_removed=false omits the fields for which
// every desktop is read, for clients that poll each second; access_removed_up_to omits them
// for operations with more rows.
func (s *server) getOperation(r *request) error {
	q := r.query("access_removed", "access_removed_up_to")
	brief := q.text("access_removed") != "" && !q.flag("access_removed")
	upTo := q.whole("access_removed_up_to", math.MaxInt)
	if err := q.err(); err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	s.estimate(r, &op.Operation)
	if brief || op.Total > upTo {
		return r.answer(http.StatusOK, api.StateOf(op.Operation, s.Now()))
	}
	removal, pace, err := s.record.RemovalAndPace(r.Context(), op, s.Store.Target, s.Now())
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Operation{Operation: op.Operation, Done: op.Done(), State: op.State(s.Now()), Removal: removal,
		Pace: pace})
}

// listDesktops is GET /v1/operations/{id}/desktops, in the order of the request.
func (s *server) listDesktops(r *request) error {
	q := r.query("state", "code", "page_size", "page_token")
	f := tasks.DesktopFilter{Code: q.text("code")}
	for _, name := range q.values["state"] {
		state, err := tasks.ParseState(name)
		if err != nil {
			q.bad("state", "%v", err)
		}
		f.States = append(f.States, state)
	}
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	desktops, next, err := s.record.Desktops(r.Context(), op, f, size, q.text("page_token"))
	if err != nil {
		return err
	}
	if err := s.record.AddBefore(r.Context(), op, desktops); err != nil {
		return err
	}
	views, err := s.views(r.Context(), op, desktops)
	total := -1
	if f.Code == "" {
		total = countOf(op.Operation, f.States)
	}
	return answerCounted(r, views, next, total, err)
}

// countOf is the number of an operation's rows in some states, or in any if there are none.
func countOf(op tasks.Operation, states []tasks.State) (n int) {
	if len(states) == 0 {
		return op.Total
	}
	for _, state := range tasks.States {
		if slices.Contains(states, state) {
			n += op.Counts.Of(state)
		}
	}
	return n
}

// views adds the results of their last calls to an operation's desktops.
func (s *server) views(ctx context.Context, op record.Operation, desktops []record.Row) ([]api.Desktop, error) {
	var ids []string
	for _, d := range desktops {
		if d.CallID != "" && !slices.Contains(ids, d.CallID) {
			ids = append(ids, d.CallID)
		}
	}
	calls, err := s.record.CallsNamed(ctx, op.ID, ids...)
	if err != nil {
		return nil, err
	}
	out := make([]api.Desktop, len(desktops))
	for i, d := range desktops {
		call := calls[d.CallID]
		out[i] = api.Desktop{Desktop: d.Desktop, JobID: call.JobID, RequestID: call.RequestID}
		if took, proven := d.TookFrom(op.Operation); proven {
			due, accepted := took.SinceDue.Milliseconds(), took.SinceAccepted.Milliseconds()
			out[i].TookMS, out[i].SinceAcceptedMS = &due, &accepted
		}
	}
	return out, nil
}

// listCalls is GET /v1/operations/{id}/calls.
func (s *server) listCalls(r *request) error {
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	calls, err := s.record.Calls(r.Context(), op.ID)
	return answerPage(r, calls, "", err)
}

// getReport is GET /v1/operations/{id}/report: the evidence, as a file for download. Shown
// inline, its HTML would run with the origin of the dashboard.
func (s *server) getReport(r *request) error {
	q := r.query("format")
	format, err := report.ParseFormat(q.text("format"))
	if q.text("format") == "" {
		format, err = report.JSON, nil
	}
	if err != nil {
		q.bad("format", "%v", err)
	}
	if err := q.err(); err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditPersonalData, op.Project, op.ID, "")
	act.Event.Detail = "report as " + string(format)
	return s.download(r, act, op.ID+"."+string(format), format.ContentType(), func(ctx context.Context, w io.Writer) error {
		return report.Write(ctx, w, s.record, op.ID, format, s.Now())
	})
}

// download answers with a file that is written while it is read.
func (s *server) download(r *request, act *Act, name, kind string, write func(context.Context, io.Writer) error) error {
	header := func() {
		h := r.w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	if r.Method == http.MethodHead {
		header()
		r.w.WriteHeader(http.StatusOK)
		return nil
	}
	ctx, cancel := r.streaming(longestReport)
	defer cancel()
	out := &late{r: r, header: header}
	err := act.Do(func() error { return write(ctx, out) })
	if err != nil && out.begun && s.Local && r.failInside(err) {
		return nil
	}
	if err != nil && out.begun {
		s.Log.Error().Err(err).Func(r.tag).Msg("a download was cut off; a report lacks its last line, which verify finds")
		panic(http.ErrAbortHandler) // so that the caller sees that it is incomplete
	}
	return err
}

// late sets the header when the first byte is written, so that an earlier error can
// still be answered as a problem.
type late struct {
	r      *request
	header func()
	begun  bool
}

func (l *late) Write(b []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.header()
	}
	l.r.extendWrite(patience)
	return l.r.w.Write(b)
}

// cancelOperation is POST /v1/operations/{id}:cancel.
func (s *server) cancelOperation(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	var cancelled, late int
	err = s.act(r, tasks.AuditOperationCancelled, op.Project, op.ID, reason).Do(func() error {
		cancelled, late, err = s.record.Cancel(r.Context(), op, s.Now(), r.key.Name)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Cancelled{OperationID: op.ID, Cancelled: cancelled, TooLate: late})
}

// retryOperation is POST /v1/operations/{id}:retry.
func (s *server) retryOperation(r *request) error {
	var in api.RetryRequest
	if err := r.decode(&in, true); err != nil {
		return err
	}
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditOperationRetried, op.Project, op.ID, in.Reason)
	act.Event.Detail = retryText(in)
	var n int
	err = act.Do(func() error {
		n, err = s.Store.Producer.Retry(r.Context(), op, tasks.RetryFilter{Held: in.Held, Code: in.Code}, r.key.Name)
		return err
	})
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, api.Retried{OperationID: op.ID, Retried: n})
}

func retryText(in api.RetryRequest) string {
	text := "failed"
	if in.Held {
		text = "on hold"
	}
	if in.Code != "" {
		text += " with code " + in.Code
	}
	return text
}
