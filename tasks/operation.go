package tasks

import "time"

// MaxDesktops is the most desktops that one operation may name.
const MaxDesktops = 100_000

// ChunkSize is the number of desktops of one operation that travel as one
// asynq task and live in one Redis hash: the most that one API call may name.
const ChunkSize = 100

// chunksOf is the number of chunks of an operation.
func chunksOf(total int) int { return (total + ChunkSize - 1) / ChunkSize }

// Request asks for desktops to be detached. Producer.Enqueue accepts it whole
// or refuses it whole.
type Request struct {
	Project            string    // alias of a configured project; required
	Desktops           []string  // desktop ids, 1 to MaxDesktops, printable, 1 to 255 characters, no duplicates
	ShutoffAfterDetach bool      // shut the desktop down once it is detached
	Urgent             bool      // goes through a queue and a call slot of its own
	NotBefore          time.Time // zero: at once
	Deadline           time.Time // zero: DefaultDeadline after the later of acceptance and NotBefore
	RequestedBy        string    // who asked, up to 255 characters
	Reason             string    // why, up to 1,000 characters
	Ticket             string    // up to 255 characters
	// IdempotencyKey, 1 to 255 characters, makes sending twice harmless: the
	// same key of the same RequestedBy with the same content answers the same
	// operation for as long as its record is kept. Empty: every call is new.
	IdempotencyKey string
}

// DefaultDeadline is how long an operation is tried for.
const DefaultDeadline = 24 * time.Hour

// Operation is one accepted request.
type Operation struct {
	ID                 string    `json:"id"`
	Project            string    `json:"project"`
	ShutoffAfterDetach bool      `json:"shutoff_after_detach"`
	Urgent             bool      `json:"urgent"`
	NotBefore          time.Time `json:"not_before,omitzero"`
	Deadline           time.Time `json:"deadline"`
	RequestedBy        string    `json:"requested_by,omitempty"`
	Reason             string    `json:"reason,omitempty"`
	Ticket             string    `json:"ticket,omitempty"`
	AcceptedAt         time.Time `json:"accepted_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"` // zero while desktops are still to be worked on
	Total              int       `json:"total"`
	Counts             Counts    `json:"counts"`
}

// Done reports that nothing is left to be worked on.
func (o Operation) Done() bool { return !o.EndedAt.IsZero() }

// Counts is the number of desktops in each state; the sum is Operation.Total.
type Counts struct {
	Queued    int `json:"queued"`
	Sending   int `json:"sending"`
	Accepted  int `json:"accepted"`
	Detached  int `json:"detached"`
	Failed    int `json:"failed"`
	Held      int `json:"held"`
	Cancelled int `json:"cancelled"`
}

// Desktop is one desktop within an operation.
type Desktop struct {
	OperationID string    `json:"operation_id"`
	ID          string    `json:"id"`
	State       State     `json:"state"`
	Attempts    int       `json:"attempts"`          // calls that counted against the limit
	UpdatedAt   time.Time `json:"updated_at"`        // when State was written
	CallID      string    `json:"call_id,omitempty"` // the last call that named it
	Note        Note      `json:"note,omitempty"`
	Failure     *Failure  `json:"failure,omitempty"` // the last refusal that named it, kept with the failed and the retried
	Chunk       int       `json:"-"`
	Position    int       `json:"-"` // within the chunk; Chunk*ChunkSize+Position is the place in the request

	// What it was read as, for compare-and-set; see codec.go.
	stored    string // its own value
	common    string // the status it shares with others; "": it has its own
	followers int    // how many share it
}

// Place is the desktop's place in its operation's request, from 0.
func (d Desktop) Place() int { return d.Chunk*ChunkSize + d.Position }

// Failure says why a desktop failed, or why its last attempt did. Message and
// DesktopName are the cloud's text: hostile input.
type Failure struct {
	OperationID string    `json:"operation_id"`
	Project     string    `json:"project"`
	DesktopID   string    `json:"desktop_id"`
	DesktopName string    `json:"desktop_name,omitempty"`
	Code        string    `json:"code"`
	Message     string    `json:"message"`
	Class       string    `json:"class"`
	Status      int       `json:"status,omitempty"` // HTTP status of the call
	RequestID   string    `json:"request_id,omitempty"`
	CallID      string    `json:"call_id,omitempty"`
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

// Call is one request to the API as far as one operation is concerned.
type Call struct {
	ID            string        `json:"id"`
	At            time.Time     `json:"at"`
	Duration      time.Duration `json:"-"`
	DurationMS    int64         `json:"duration_ms"`
	Status        int           `json:"status"`         // HTTP status, 0: no reply (or not yet)
	Code          string        `json:"code,omitempty"` // error_code of a refused call
	Message       string        `json:"message,omitempty"`
	RequestID     string        `json:"request_id,omitempty"`
	JobID         string        `json:"job_id,omitempty"`
	SuccessJobIDs []string      `json:"success_job_ids,omitempty"`
	Size          int           `json:"size"`   // desktops in the request, of all operations
	Desktops      []Range       `json:"-"`      // this operation's desktops in it
	Worker        string        `json:"worker"` // who made it
	Answered      bool          `json:"answered"`
}
