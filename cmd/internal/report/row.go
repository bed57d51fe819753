package report

import (
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// row is one desktop, or one user that the request names.
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

// event is one step of a row. Its texts come from the cloud.
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

// call is one request to the API that named the desktop. It has only the id if it is not in
// the record.
type call struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at,omitzero"`
	Answered  bool      `json:"answered"`
	Status    int       `json:"status,omitempty"` // HTTP; 0: no reply
	Code      string    `json:"code,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	JobIDs    []string  `json:"job_ids,omitempty"`
}

// derive returns the rows of a chunk as the request and the trail describe them. e.Check
// must have passed.
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
			r.Events = append(r.Events, event{s.At, s.From, s.To, s.By, s.Note, s.NoteText, s.Detail, s.CallID})
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

// took returns the time to access removal; false if nothing is proven or nothing had to be.
func (r row) took(op tasks.Operation) (tasks.Took, bool) {
	return tasks.Desktop{State: r.State, Note: r.Note, UpdatedAt: r.Since}.TookFrom(op)
}

// callIDs lists the calls that named the desktop, each once, in order. The last may be known
// from the row alone: the trail does not name it if the desktop left its call for another
// state than the others.
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

// user returns the user if the row names one and not a desktop.
func (r row) user() (name string, ok bool) { return tasks.Desktop{ID: r.ID}.User() }
