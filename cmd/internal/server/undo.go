package server

import (
	"fmt"
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// undoOperation is POST /v1/operations/{id}:undo: 202 and the operation that gives desktops
// back, which is recorded.
func (s *server) undoOperation(r *request) error {
	var in api.UndoRequest
	if err := r.decode(&in, true); err != nil {
		return err
	}
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	op, err := s.operation(r)
	if err != nil {
		return err
	}
	if err := requireReason(in.Reason); err != nil {
		return err
	}
	req := tasks.UndoRequest{
		Desktops: in.Desktops, RequestedBy: r.key.Name, Owner: r.key.Owner, Reason: in.Reason, Ticket: in.Ticket,
		IdempotencyKey: key, Trace: r.trace, Tracestate: r.tracestate,
	}
	act := s.act(r, tasks.AuditOperationUndone, op.Project, "", in.Reason)
	act.Event.Detail = "of " + op.ID
	if len(in.Desktops) > 0 {
		act.Event.Detail += fmt.Sprintf(", %d desktops", len(in.Desktops))
	}
	span := s.Spans.Accept(r.Context(), &req.Trace, &req.Tracestate)
	undo, err := s.Store.Producer.Undo(r.Context(), op, req, act.begins)
	span.Accepted(undo.Operation, undo.Replayed, err)
	if err := act.End(err); err != nil {
		return err
	}
	if s.Metrics != nil {
		s.Metrics.Accepted(undo.Durability)
	}
	r.replayed(undo.Replayed)
	r.w.Header().Set("Location", "/v1/operations/"+undo.ID)
	return r.answer(http.StatusAccepted, api.StateOf(undo.Operation, s.Now()))
}
