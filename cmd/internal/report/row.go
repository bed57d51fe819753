package report

import (
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// row is what a report says of one desktop, or of one user that the request
// names.
type row struct {
	ID         string         `json:"id"` // a desktop id, or "user:" and a name
	Expect     []string       `json:"expected_users,omitempty"`
	State      tasks.State    `json:"state"`
	Since      time.Time      `json:"since"`
	DueAt      time.Time      `json:"due_at"`
	ProvenAt   time.Time      `json:"proven_at,omitzero"`
	TookMS     *int64         `json:"took_ms,omitempty"` // since due, see tasks.Took; 0: before it was due
	AcceptedMS *int64         `json:"took_since_accepted_ms,omitempty"`
	Note       tasks.Note     `json:"note,omitempty"`
	NoteText   string         `json:"note_text,omitempty"`
	Detail     string         `json:"detail,omitempty"`
	Before     *tasks.Before  `json:"before,omitempty"`
	Events     []event        `json:"events,omitempty"`
	Attempts   int            `json:"attempts"`
	Failure    *tasks.Failure `json:"failure,omitempty"`
	Calls      []call         `json:"calls,omitempty"`
	lastCallID string
}

// event is one step of a row. Texts are the cloud's.
type event struct {
	At       time.Time   `json:"at"`
	From     tasks.State `json:"from"`
	To       tasks.State `json:"to"`
	By       string      `json:"by,omitempty"`
	Note     tasks.Note  `json:"note,omitempty"`
	NoteText string      `json:"note_text,omitempty"`
	Detail   string      `json:"detail,omitempty"`
	CallID   string      `json:"call,omitempty"`
}

// call is one request to the API that named the desktop. With only the id it is
// not in the record.
type call struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at,omitzero"`
	Answered  bool      `json:"answered"`
	Status    int       `json:"status,omitempty"` // HTTP; 0: no reply
	Code      string    `json:"code,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	JobIDs    []string  `json:"job_ids,omitempty"`
}

// derive gives the rows of a chunk as far as the request and the trail say it;
// e.Check must have passed.
func derive(op record.Operation, e record.Evidence) []row {
	rows := make([]row, len(e.Desktops))
	for i, d := range e.Desktops {
		rows[i] = row{ID: d.ID, Expect: d.Expect, State: d.State, Since: d.UpdatedAt, DueAt: op.DueAt, lastCallID: d.CallID}
	}
	for _, entry := range e.Trail {
		for p, s := range entry.Steps() {
			r := &rows[p]
			if s.Note != tasks.NoteDismissed { // the row stays as it is
				r.Since, r.Note, r.NoteText, r.Detail = s.At, s.Note, s.NoteText, s.Detail
			}
			r.Events = append(r.Events, event{At: s.At, From: s.From, To: s.To, By: s.By, Note: s.Note, NoteText: s.NoteText, Detail: s.Detail, CallID: s.CallID})
		}
		for p, b := range entry.Before {
			if p >= 0 && p < len(rows) {
				rows[p].Before = &b
			}
		}
	}
	for i := range rows {
		r := &rows[i]
		if took, proven := r.took(op.Operation); proven {
			due, accepted := took.SinceDue.Milliseconds(), took.SinceAccepted.Milliseconds()
			r.ProvenAt, r.TookMS, r.AcceptedMS = r.Since, &due, &accepted
		}
	}
	return rows
}

// took is the time to access removed; false where nothing is proven, or nothing
// was to be.
func (r row) took(op tasks.Operation) (tasks.Took, bool) {
	return tasks.Desktop{State: r.State, Note: r.Note, UpdatedAt: r.Since}.TookFrom(op)
}

// callIDs lists the calls that named the desktop, each once, in their order. The
// last one may be known from the row alone: the trail does not name it where the
// desktop went another way than the others of its call.
func (r row) callIDs() (out []string) {
	add := func(id string) {
		if id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, e := range r.Events {
		add(e.CallID)
	}
	add(r.lastCallID)
	return out
}

func viewCall(id string, calls map[string]record.Call) call {
	c, known := calls[id]
	if !known {
		return call{ID: id}
	}
	v := call{ID: id, At: c.At, Answered: c.Answered, Status: c.Status, Code: c.Code, RequestID: c.RequestID}
	for _, job := range append([]string{c.JobID}, c.SuccessJobIDs...) {
		if job != "" && !slices.Contains(v.JobIDs, job) {
			v.JobIDs = append(v.JobIDs, job)
		}
	}
	return v
}

// user reports that the row names a user, not a desktop.
func (r row) user() (name string, ok bool) { return tasks.Desktop{ID: r.ID}.User() }
