package tasks

import "fmt"

// StateText names the state of a row of the operation for people: in an undo a desktop whose
// reading shows its users is given back. JSON has State.
func (o Operation) StateText(s State) string {
	switch {
	case o.UndoOf != "" && s == StateDetached:
		return "given back"
	case s == StateHeld:
		return "on hold"
	case s == StateNoDesktop:
		return "no desktop"
	}
	return s.String()
}

// UndoRequest asks to give desktops of an operation back to the users who lost them by it.
type UndoRequest struct {
	// Desktops of the operation, by id, each once; empty: all that it detached.
	Desktops    []string
	RequestedBy string // up to 255 characters
	Owner       string // as in Request
	Reason      string // up to 1,000 characters
	Ticket      string // up to 255 characters
	// IdempotencyKey, Trace and Tracestate are as in Request.
	IdempotencyKey    string
	Trace, Tracestate string
}

// Request has what the two kinds of requests have in common, in canonical spelling.
func (r UndoRequest) Request(project string) Request {
	return Request{
		Project: project, Desktops: r.Desktops, RequestedBy: r.RequestedBy, Owner: r.Owner, Reason: r.Reason, Ticket: r.Ticket,
		IdempotencyKey: r.IdempotencyKey, Trace: r.Trace, Tracestate: r.Tracestate, Urgent: true, // it repairs a mistake
	}.Canonical()
}

// Validate returns everything that is wrong with the request, as a *ValidationError, or nil.
func (r UndoRequest) Validate() error {
	request := r.Request("any")
	if len(r.Desktops) == 0 {
		request.Desktops = []string{"any"}
	}
	return request.ValidateContent(func(string) bool { return true })
}

// NotUndone are desktops of a request for an undo that the operation did not detach.
func (r UndoRequest) NotUndone(states map[string]State) error {
	var ps problems
	for i, id := range r.Desktops {
		field := fmt.Sprintf("desktops[%d]", i)
		switch state, known := states[CanonicalDesktopID(id)]; {
		case !known:
			ps.add(field, "", "%.60q is not a desktop of the operation", id)
		case state != StateDetached && state != StateAccepted:
			ps.add(field, "", "%.60q is %s: only what the operation detached can be given back", id, state)
		}
	}
	return ps.err()
}
