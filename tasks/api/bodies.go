package api

import (
	"time"

	"github.com/detachd/detachd/tasks"
)

// OperationRequest is the body of POST /v1/operations; see tasks.Request for what
// each field means. Who asks is the name of the key.
type OperationRequest struct {
	Project            string              `json:"project"`
	Desktops           []string            `json:"desktops,omitempty"`
	ExpectedUsers      map[string][]string `json:"expected_users,omitempty"` // by desktop, or by "computer:" and a computer's name
	Users              []string            `json:"users,omitempty"`
	Computers          []string            `json:"computers,omitempty"`
	UnknownUsers       string              `json:"unknown_users,omitempty"` // hold or ignore; empty: as the key or the project says
	AllowShared        bool                `json:"allow_shared,omitempty"`
	ShutoffAfterDetach bool                `json:"shutoff_after_detach,omitempty"`
	Urgent             bool                `json:"urgent,omitempty"`
	NotBefore          NotBefore           `json:"not_before,omitzero"`
	DueAt              time.Time           `json:"due_at,omitzero"`
	Deadline           time.Time           `json:"deadline,omitzero"`
	Reason             string              `json:"reason,omitempty"`
	Ticket             string              `json:"ticket,omitempty"`
	ValidateOnly       bool                `json:"validate_only,omitempty"` // everything is checked and nothing written

	IdempotencyKey string `json:"-"` // the header Idempotency-Key; it belongs to the name of the key that is sent with
	Traceparent    string `json:"-"` // the header traceparent of W3C Trace Context: the calls to the cloud carry it on
}

// Task is what is asked of tasks.Producer.
func (r OperationRequest) Task(requestedBy string) tasks.Request {
	return tasks.Request{
		Project: r.Project, Desktops: r.Desktops, Users: r.Users, Computers: r.Computers, Expect: r.ExpectedUsers,
		UnknownUsers: r.UnknownUsers, AllowShared: r.AllowShared,
		ShutoffAfterDetach: r.ShutoffAfterDetach, Urgent: r.Urgent, NotBefore: r.NotBefore.At, AtOnce: r.NotBefore.Now, DueAt: r.DueAt, Deadline: r.Deadline,
		RequestedBy: requestedBy, Reason: r.Reason, Ticket: r.Ticket, IdempotencyKey: r.IdempotencyKey, Trace: r.Traceparent,
	}
}

// Times say when an operation would start, be due and be given up, if it was
// accepted now.
type Times struct {
	NotBefore time.Time `json:"not_before,omitzero"` // zero: at once
	DueAt     time.Time `json:"due_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`
}

// TimesOf gives the times of a request.
func TimesOf(r tasks.Request, now time.Time) Times {
	start, due, deadline := r.Times(now)
	return Times{start.UTC(), due.UTC(), deadline.UTC()}
}

// Validated is the answer to a request with ValidateOnly.
type Validated struct {
	Times
	Valid     bool `json:"valid"`
	Desktops  int  `json:"desktops"`
	Users     int  `json:"users"`
	Computers int  `json:"computers"`

	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list
}

// Accepted is the answer to a request that was accepted.
type Accepted struct {
	OperationState
	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list
}

// Page is the JSON of every list.
type Page[T any] struct {
	Items         []T    `json:"items"` // never null
	NextPageToken string `json:"next_page_token,omitempty"`
}

// OperationState is an Operation without Removal.
type OperationState struct {
	tasks.Operation
	Done  bool                 `json:"done"`
	State tasks.OperationState `json:"state"`
}

// StateOf gives what an operation is at now.
func StateOf(op tasks.Operation, now time.Time) OperationState {
	return OperationState{Operation: op, Done: op.Done(), State: op.State(now)}
}

// Operation adds to an operation what is computed.
type Operation struct {
	tasks.Operation
	Done    bool                 `json:"done"`
	State   tasks.OperationState `json:"state"`
	Removal tasks.Removal        `json:"access_removed"`
	Pace    tasks.Pace           `json:"pace"` // zero once it has ended
}

// Desktop is a desktop within an operation, with what its last call says.
type Desktop struct {
	tasks.Desktop
	JobID     string `json:"job_id,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	// TookMS is how long it took since due until the desktop was proven detached, and
	// SinceAcceptedMS since the acceptance, see tasks.Took; left out while it is not.
	TookMS          *int64 `json:"took_ms,omitempty"`
	SinceAcceptedMS *int64 `json:"took_since_accepted_ms,omitempty"`
	// Steps are what happened to it, the earliest first: with GET
	// /v1/desktops/{id} only.
	Steps []tasks.Step `json:"steps,omitempty"`
}

// Event is what one operation did about a desktop.
type Event struct {
	Operation tasks.Operation `json:"operation"`
	Desktop   Desktop         `json:"desktop"`
}

// History is a desktop across operations, the latest first.
type History struct {
	DesktopID string  `json:"desktop_id"`
	Events    []Event `json:"events"`
}

// Cancelled is the answer to :cancel.
type Cancelled struct {
	OperationID string `json:"operation_id"`
	Cancelled   int    `json:"cancelled"` // desktops
	TooLate     int    `json:"too_late"`  // sent already
}

// RetryRequest is the body of :retry; see tasks.RetryFilter.
type RetryRequest struct {
	Held bool   `json:"held,omitempty"`
	Code string `json:"code,omitempty"`
}

// Retried is the answer to :retry.
type Retried struct {
	OperationID string `json:"operation_id"`
	Retried     int    `json:"retried"` // desktops
}

// Project is how a configured project is doing.
type Project struct {
	Alias  string       `json:"project"`
	Pause  *tasks.Pause `json:"pause,omitempty"` // left out: it is not paused
	Limits Limits       `json:"limits"`
}

// Limits are a project's configured limits. Those a minute, and Burst, are of the
// credential: all projects that use it share them, over all workers. 0: no limit.
type Limits struct {
	Credential     string `json:"credential"` // its name
	CallsPerMinute int    `json:"calls_per_minute"`
	ReadsPerMinute int    `json:"reads_per_minute"`
	Burst          int    `json:"burst"`
	MaxInFlight    int    `json:"max_in_flight"`
	MaxReads       int    `json:"max_reads"`
}

// PauseRequest is the body of :pause.
type PauseRequest struct {
	Reason     string `json:"reason,omitempty"`
	ForSeconds int    `json:"for_seconds,omitempty"` // 0: until it is resumed
}

// Paused is the answer to :pause and :resume.
type Paused struct {
	Project string `json:"project"`
	Paused  bool   `json:"paused"`
}

// Key is what is known of a key; what it may do is in its role: viewer, producer,
// operator or admin, each of which may do all that the ones before it may.
type Key struct {
	ID       string   `json:"id"` // begins the key, to recognise it by
	Name     string   `json:"name"`
	Role     string   `json:"role"`
	Projects []string `json:"projects,omitempty"` // empty: all
	// UnknownUsers is what becomes of users whom Workspace does not know, where a
	// request with this key does not say: hold or ignore; empty: as the project says.
	UnknownUsers string    `json:"unknown_users,omitempty"`
	CreatedAt    time.Time `json:"created_at,omitzero"`
	CreatedBy    string    `json:"created_by,omitempty"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // zero: never
	RevokedAt    time.Time `json:"revoked_at,omitzero"`
	LastUsedAt   time.Time `json:"last_used_at,omitzero"` // to the minute
}

// KeyRequest is the body of POST /v1/keys.
type KeyRequest struct {
	Name         string    `json:"name"`
	Role         string    `json:"role"`
	Projects     []string  `json:"projects,omitempty"`
	UnknownUsers string    `json:"unknown_users,omitempty"` // hold or ignore; empty: as the project says
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
}

// NewKey is a key that was just made. Secret cannot be had again.
type NewKey struct {
	Key
	Secret string `json:"key"`
}

// Codes are the tables by which workers decide.
type Codes struct {
	Codes    []Code    `json:"codes"`
	Classes  []Class   `json:"classes"`
	Actions  []Action  `json:"actions"`
	Readings []Reading `json:"readings"`
}

// Code says what a refusal of the cloud means; the first that matches wins.
type Code struct {
	Of     string `json:"of"` // call, desktop, or worker for workers' own codes
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	Class  string `json:"class"`
	Why    string `json:"why"`
	Advice string `json:"advice"` // what a person can do about desktops that failed with it
}

// Class says what is done about refusals of a class, and what a person can do about
// desktops that failed with it.
type Class struct {
	Class  string `json:"class"`
	Does   string `json:"does"`
	Advice string `json:"advice"`
}

// Action says what an action is: of a Reading, or what a plan does.
type Action struct {
	Action string `json:"action"`
	Does   string `json:"does"`
}

// Reading says what a reading of a desktop means.
type Reading struct {
	Reads   string `json:"reads"`
	Before  string `json:"before_sending"`
	Unknown string `json:"after_an_unknown_outcome"`
	After   string `json:"after_accepted"`
	Code    string `json:"code,omitempty"`
	Why     string `json:"why"`
	Advice  string `json:"advice,omitempty"` // where there is a code
}

// RedriveRequest is the body of POST /v1/redrives: which failed desktops are to be
// taken up again, of any operations, and how fast. Either Filter or Desktops say
// which; see tasks.RedriveRequest.
type RedriveRequest struct {
	Filter    tasks.FailureFilter `json:"filter,omitzero"`
	Desktops  []tasks.DesktopRef  `json:"desktops,omitempty"`   // at most 100,000
	PerSecond int                 `json:"per_second,omitempty"` // desktops; 0: as fast as they can be taken up
	Reason    string              `json:"reason,omitempty"`
	// ValidateOnly answers with what matches, and takes up nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`

	IdempotencyKey string `json:"-"` // the header Idempotency-Key
}

// FailureMatch is the answer to a RedriveRequest or a DismissRequest with ValidateOnly.
type FailureMatch struct {
	Matched int                  `json:"matched"`
	By      []tasks.FailureCount `json:"by"` // project, class and code
}

// DismissRequest is the body of POST /v1/failures:dismiss: which desktops are to leave
// the inbox. Either Filter or Desktops say which; see tasks.DismissRequest.
type DismissRequest struct {
	Filter   tasks.FailureFilter `json:"filter,omitzero"`
	Desktops []tasks.DesktopRef  `json:"desktops,omitempty"` // at most 100,000
	Matched  int                 `json:"matched,omitempty"`  // as many as were seen to match; refused if they are another number. 0: whatever it is
	Reason   string              `json:"reason,omitempty"`   // required, unless ValidateOnly is set
	// ValidateOnly answers with what matches, and dismisses nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`
}

// Dismissed is the answer to a DismissRequest.
type Dismissed struct {
	Dismissed int `json:"dismissed"` // desktops
}
