package api

import (
	"time"

	"github.com/detachd/detachd/tasks"
)

// OperationRequest is the body of POST /v1/operations; see tasks.Request for the meaning of
// each field. The requester is the name of the key.
type OperationRequest struct {
	Project            string              `json:"project,omitempty"` // required without Plan
	Desktops           []string            `json:"desktops,omitempty"`
	ExpectedUsers      map[string][]string `json:"expected_users,omitempty"` // by desktop, or by "computer:" and a computer's name
	Users              []string            `json:"users,omitempty"`
	Computers          []string            `json:"computers,omitempty"`
	UnknownUsers       string              `json:"unknown_users,omitempty"` // hold or ignore; empty: the default of the key or the project
	AllowShared        bool                `json:"allow_shared,omitempty"`
	ShutoffAfterDetach bool                `json:"shutoff_after_detach,omitempty"`
	Urgent             bool                `json:"urgent,omitempty"`
	NotBefore          NotBefore           `json:"not_before,omitzero"`
	DueAt              time.Time           `json:"due_at,omitzero"`
	LastWorkingDay     *LastWorkingDay     `json:"last_working_day,omitempty"` // in place of DueAt and NotBefore
	Deadline           time.Time           `json:"deadline,omitzero"`
	Reason             string              `json:"reason,omitempty"`
	Ticket             string              `json:"ticket,omitempty"`
	Plan               string              `json:"plan,omitempty"`          // runs this plan, by its hash; only with Urgent, Reason and Ticket
	ValidateOnly       bool                `json:"validate_only,omitempty"` // check everything and write nothing

	IdempotencyKey string `json:"-"` // the header; it belongs to the name of the API key
	Traceparent    string `json:"-"` // the headers of W3C Trace Context, which the calls to the cloud continue
	Tracestate     string `json:"-"`
}

// LastWorkingDay is a day at whose end access should be gone: at the first instant of the next
// day in its zone.
type LastWorkingDay struct {
	Date string `json:"date"`           // such as 2026-11-30
	Zone string `json:"zone,omitempty"` // such as Asia/Singapore; empty: that of the project
}

// Task is what is asked of record.Producer. The server has set DueAt for a LastWorkingDay.
func (r OperationRequest) Task(requestedBy string) tasks.Request {
	return tasks.Request{
		Project: r.Project, Desktops: r.Desktops, Users: r.Users, Computers: r.Computers, Expect: r.ExpectedUsers,
		UnknownUsers: r.UnknownUsers, AllowShared: r.AllowShared,
		ShutoffAfterDetach: r.ShutoffAfterDetach, Urgent: r.Urgent,
		NotBefore: r.NotBefore.At, AtOnce: r.NotBefore.Now, DueAt: r.DueAt, Deadline: r.Deadline,
		Plan: r.Plan, RequestedBy: requestedBy, Reason: r.Reason, Ticket: r.Ticket, IdempotencyKey: r.IdempotencyKey,
		Trace: r.Traceparent, Tracestate: r.Tracestate,
	}
}

// Times are the start, due time and deadline of an operation, if it were accepted now.
type Times struct {
	NotBefore time.Time `json:"not_before,omitzero"` // zero: at once
	DueAt     time.Time `json:"due_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`
}

// TimesOf returns the times of a request.
func TimesOf(r tasks.Request, now time.Time) Times {
	start, due, deadline := r.Times(now)
	return Times{start.UTC(), due.UTC(), deadline.UTC()}
}

// Validated is the answer to a valid request with ValidateOnly.
type Validated struct {
	Times
	Valid     bool `json:"valid"`
	Desktops  int  `json:"desktops"`
	Users     int  `json:"users"`
	Computers int  `json:"computers"`

	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list
}

// Accepted is the answer to an accepted request.
type Accepted struct {
	OperationState
	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list
}

// Page is the JSON of every list.
type Page[T any] struct {
	Items         []T    `json:"items"` // never null
	NextPageToken string `json:"next_page_token,omitempty"`
	Total         *int   `json:"total,omitempty"` // of all pages; omitted where counting would take as long as listing
}

// OperationState is an Operation without Removal and Pace.
type OperationState struct {
	tasks.Operation
	Done  bool                 `json:"done"`
	State tasks.OperationState `json:"state"`
}

// StateOf returns the state of an operation at now.
func StateOf(op tasks.Operation, now time.Time) OperationState {
	return OperationState{Operation: op, Done: op.Done(), State: op.State(now)}
}

// Operation adds the figures computed from the desktops.
type Operation struct {
	tasks.Operation
	Done    bool                 `json:"done"`
	State   tasks.OperationState `json:"state"`
	Removal tasks.Removal        `json:"access_removed"`
	Pace    tasks.Pace           `json:"pace"` // zero once it has ended
}

// Desktop is a desktop of an operation, with the results of its last call.
type Desktop struct {
	tasks.Desktop
	JobID     string `json:"job_id,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	// TookMS is the time from due to confirmed detached, SinceAcceptedMS that from the
	// acceptance; see tasks.Took. Omitted until then.
	TookMS          *int64 `json:"took_ms,omitempty"`
	SinceAcceptedMS *int64 `json:"took_since_accepted_ms,omitempty"`
	// Steps are its changes of state, the earliest first. Only in a History.
	Steps []tasks.Step `json:"steps,omitempty"`
}

// Event is what one operation did with a desktop.
type Event struct {
	Operation tasks.Operation `json:"operation"`
	Desktop   Desktop         `json:"desktop"`
}

// History is a desktop over all operations, the latest first.
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

// ApproveRequest is the body of :approve. Plan is the hash of a plan of what is left of the
// operation, see Client.PlanOperation: what has changed since is held. Required if the
// operation waits because of the limit.
type ApproveRequest struct {
	Plan   string `json:"plan,omitempty"`
	Reason string `json:"reason"` // required, up to 1,000 characters
}

// PlanOfOperation is the body of POST /v1/plans for what is left of an operation that waits.
type PlanOfOperation struct {
	Operation string `json:"operation"`        // its id
	Reason    string `json:"reason,omitempty"` // for the audit log
}

// Decision is the body of :reject, :stop and :resume of all projects.
type Decision struct {
	Reason string `json:"reason"` // required, up to 1,000 characters
}

// UndoRequest is the body of :undo; see tasks.UndoRequest.
type UndoRequest struct {
	Desktops []string `json:"desktops,omitzero"` // nil: all that the operation detached; refused if empty
	Reason   string   `json:"reason"`            // required, up to 1,000 characters
	Ticket   string   `json:"ticket,omitempty"`

	IdempotencyKey string `json:"-"` // the header Idempotency-Key
}

// Stopped is the answer to the stop of all projects, and to its end.
type Stopped struct {
	Stopped bool `json:"stopped"`
}

// RetryRequest is the body of :retry; see tasks.RetryFilter.
type RetryRequest struct {
	Held   bool   `json:"held,omitempty"`
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"` // for the audit log
}

// ReasonRequest is the body of :cancel, :resume, :revoke and :end. The reason, at most 1,000
// characters, is for the audit log.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty"`
}

// Retried is the answer to :retry.
type Retried struct {
	OperationID string `json:"operation_id"`
	Retried     int    `json:"retried"` // desktops
}

// Project is a configured project.
type Project struct {
	Alias    string          `json:"project"`
	Pause    *tasks.Pause    `json:"pause,omitempty"`    // omitted: it is not paused
	Blackout *tasks.Blackout `json:"blackout,omitempty"` // omitted: none is now
	Limits   Limits          `json:"limits"`
}

// Limits are the configured limits of a project. Limits a minute, and Burst, belong to the
// credential: its projects share them, over all workers. 0: no limit.
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

// Key describes a key. Its role is viewer, producer, operator, approver or admin; each role
// includes those before it.
type Key struct {
	ID       string   `json:"id"` // the first characters of the key, to recognise it
	Name     string   `json:"name"`
	Owner    string   `json:"owner,omitempty"` // the person who answers for it; keys of older versions have none
	Role     string   `json:"role"`
	Projects []string `json:"projects,omitempty"` // empty: all
	// UnknownUsers is the default of requests with this key for users whom Workspace does
	// not know: hold or ignore. Empty: the default of the project.
	UnknownUsers string `json:"unknown_users,omitempty"`
	// DesktopsPerHour and DesktopsPerDay limit what operations with keys of this name ask for:
	// desktops, and users and computers as one each; 0: no limit.
	DesktopsPerHour int       `json:"desktops_per_hour,omitempty"`
	DesktopsPerDay  int       `json:"desktops_per_day,omitempty"`
	CreatedAt       time.Time `json:"created_at,omitzero"`
	CreatedBy       string    `json:"created_by,omitempty"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"` // zero: never
	RevokedAt       time.Time `json:"revoked_at,omitzero"`
	LastUsedAt      time.Time `json:"last_used_at,omitzero"` // to the minute
}

// KeyRequest is the body of POST /v1/keys.
type KeyRequest struct {
	Name            string    `json:"name"`
	Owner           string    `json:"owner,omitempty"` // a person, 1 to 120 characters; default: the owner of the key that creates it
	Role            string    `json:"role"`
	Projects        []string  `json:"projects,omitzero"`           // nil: all; refused if empty
	UnknownUsers    string    `json:"unknown_users,omitempty"`     // hold or ignore; empty: the default of the project
	DesktopsPerHour int       `json:"desktops_per_hour,omitempty"` // 0: no limit
	DesktopsPerDay  int       `json:"desktops_per_day,omitempty"`  // 0: no limit
	ExpiresAt       time.Time `json:"expires_at,omitzero"`
}

// NewKey is a new key. The secret cannot be read again.
type NewKey struct {
	Key
	Secret string `json:"key"`
}

// ProtectionRequest is the body of POST /v1/protections.
type ProtectionRequest struct {
	Name    string `json:"name"`    // 1 to 40 lower-case letters, digits, dots, dashes or underscores
	Kind    string `json:"kind"`    // desktop, user, computer, tag or pool
	Pattern string `json:"pattern"` // see tasks.Protection
	Project string `json:"project,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Session is a session of the dashboard. It ends after twelve hours, or an hour without use.
type Session struct {
	ID         string    `json:"id"` // not the secret
	KeyID      string    `json:"key_id"`
	KeyName    string    `json:"key_name"`
	Owner      string    `json:"owner,omitempty"` // of the key
	StartedAt  time.Time `json:"started_at"`
	LastUsedAt time.Time `json:"last_used_at"` // by a person
	ExpiresAt  time.Time `json:"expires_at"`   // if it is not used until then
	Address    string    `json:"address,omitempty"`
	UserAgent  string    `json:"user_agent,omitempty"`
	Current    bool      `json:"current"` // the request belongs to it
}

// Codes are the tables by which workers decide.
type Codes struct {
	Codes    []Code    `json:"codes"`
	Classes  []Class   `json:"classes"`
	Actions  []Action  `json:"actions"`
	Readings []Reading `json:"readings"`
}

// Code is the meaning of a refusal of the cloud; the first row that matches wins.
type Code struct {
	Of     string `json:"of"` // call, desktop, or worker for codes of detachd
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	Class  string `json:"class"`
	Why    string `json:"why"`
	Advice string `json:"advice"` // what a person can do about desktops that failed with it
}

// Class says what workers do about refusals of a class, and what a person can do about
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

// Reading is the meaning of a reading of a desktop.
type Reading struct {
	Reads   string `json:"reads"`
	Before  string `json:"before_sending"`
	Unknown string `json:"after_an_unknown_outcome"`
	After   string `json:"after_accepted"`
	Code    string `json:"code,omitempty"`
	Why     string `json:"why"`
	Advice  string `json:"advice,omitempty"` // if there is a code
}

// RedriveRequest is the body of POST /v1/redrives: which failed desktops to retry, of any
// operations, and at what rate. Give either Filter or Desktops; see tasks.RedriveRequest.
type RedriveRequest struct {
	Filter    tasks.FailureFilter `json:"filter,omitzero"`
	Desktops  []tasks.DesktopRef  `json:"desktops,omitzero"`    // at most 100,000; refused if empty, not nil
	PerSecond int                 `json:"per_second,omitempty"` // the rate, in desktops; 0: unlimited
	Reason    string              `json:"reason,omitempty"`
	// ValidateOnly answers with what matches, and retries nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`

	IdempotencyKey string `json:"-"` // the header Idempotency-Key
}

// CancellationRequest is the body of POST /v1/cancellations: of which operations to cancel what
// was not sent; see tasks.CancellationRequest.
type CancellationRequest struct {
	Filter  tasks.CancellationFilter `json:"filter"`
	AsOf    time.Time                `json:"as_of,omitzero"`
	Matched int                      `json:"matched,omitempty"` // the number of operations that matched before; 0: any
	Reason  string                   `json:"reason,omitempty"`  // required, unless ValidateOnly is set
	// ValidateOnly answers with what matches, and cancels nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`

	IdempotencyKey string `json:"-"` // the header Idempotency-Key
}

// RecallRequest is the body of POST /v1/recalls; see tasks.Recall.
type RecallRequest struct {
	User    string `json:"user"`             // as the requests name the person, in the same case
	Source  string `json:"source,omitempty"` // who requested the operations; empty: anybody, or of a producer's key its own name
	Ticket  string `json:"ticket,omitempty"`
	Project string `json:"project,omitempty"`
	Reason  string `json:"reason"` // required, up to 1,000 characters

	IdempotencyKey string `json:"-"` // the header Idempotency-Key
}

// FailureMatch is the answer to a RedriveRequest or a DismissRequest with ValidateOnly.
type FailureMatch struct {
	Matched int                  `json:"matched"`
	By      []tasks.FailureCount `json:"by"` // project, class and code
}

// DismissRequest is the body of POST /v1/failures:dismiss: which desktops to dismiss from
// the inbox. Give either Filter or Desktops; see tasks.DismissRequest.
type DismissRequest struct {
	Filter   tasks.FailureFilter `json:"filter,omitzero"`
	Desktops []tasks.DesktopRef  `json:"desktops,omitzero"` // at most 100,000; refused if empty, not nil
	Matched  int                 `json:"matched,omitempty"` // the number that matched before; refused if it is another now. 0: any
	Reason   string              `json:"reason,omitempty"`  // required, unless ValidateOnly is set
	// ValidateOnly answers with what matches, and dismisses nothing.
	ValidateOnly bool `json:"validate_only,omitempty"`
}

// Worker is a worker process that has not stopped.
type Worker struct {
	ID       string    `json:"id"`
	LastBeat time.Time `json:"last_beat"`
	SilentMS int64     `json:"silent_ms"` // since then; heartbeats come every few seconds
}

// Alive reports whether the last heartbeat is recent.
func (w Worker) Alive() bool {
	return tasks.Worker{Silent: time.Duration(w.SilentMS) * time.Millisecond}.Alive()
}

// Dismissed is the answer to a DismissRequest.
type Dismissed struct {
	Dismissed int `json:"dismissed"` // desktops
}

// Found is the answer to a search, by kind of thing.
type Found struct {
	Query      string                     `json:"query"`
	Operations FoundGroup[OperationState] `json:"operations"`
	Redrives   FoundGroup[tasks.Redrive]  `json:"redrives"`
	People     FoundGroup[FoundPerson]    `json:"people"`
	Desktops   FoundGroup[Event]          `json:"desktops"`
}

// FoundGroup is what a search found of one kind.
type FoundGroup[T any] struct {
	Items []T  `json:"items"` // at most 20, never null
	More  bool `json:"more"`  // there are others
}

// FoundPerson is a user whom operations named, or found on a desktop.
type FoundPerson struct {
	Name     string   `json:"name"`
	Projects []string `json:"projects"` // of the operations
}
