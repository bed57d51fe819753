package tasks

import "time"

// Plan is a dry run: what would happen to every row of a request if it ran now. It
// outlives the process that began it, and expires an hour after its last use.
type Plan struct {
	ID        string    `json:"id"`
	Project   string    `json:"project"`
	State     string    `json:"state"` // PlanReading, PlanDone or PlanFailed
	CreatedAt time.Time `json:"created_at"`
	NotBefore time.Time `json:"not_before,omitzero"` // start of the operation; zero: at once
	DueAt     time.Time `json:"due_at"`              // see Request.Times
	Deadline  time.Time `json:"deadline"`
	Desktops  int       `json:"desktops"`  // in the request
	Users     int       `json:"users"`     // in the request
	Computers int       `json:"computers"` // in the request
	Found     int       `json:"found"`     // desktops of the users and computers; known once all of those are read
	Read      int       `json:"read"`      // rows read so far
	Total     int       `json:"total"`     // rows to read: desktops, users, computers and found
	// Counts cover the rows read so far. Never nil.
	Counts []PlannedCount `json:"counts"`
	People int            `json:"people"` // people who would lose access, each counted once
	Groups int            `json:"groups"` // user groups that would lose access
	// Hash names what the plan showed: the options, the rows and the users read. It is set
	// when the plan is done, and Request.Plan runs exactly that until ExpiresAt.
	Hash        string    `json:"hash,omitempty"` // hex SHA-256
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	OperationID string    `json:"operation_id,omitempty"` // the plan is of what is left of this operation
	Error       string    `json:"error,omitempty"`        // why it failed; may come from the cloud
}

// Values of Plan.State.
const (
	PlanReading = "reading"
	PlanDone    = "done"
	PlanFailed  = "failed" // the cloud refused some of the reading
)

// PlannedCount is the number of rows with the same outcome.
type PlannedCount struct {
	Of    string `json:"of"`             // desktops, users or computers
	Does  string `json:"does"`           // as in Planned
	Code  string `json:"code,omitempty"` // as in Planned
	Count int    `json:"count"`
}

// Planned is what would happen to a desktop, user or computer if the request ran now.
type Planned struct {
	ID     string   `json:"id"` // a row id, as in Desktop
	Expect []string `json:"expected_users,omitempty"`
	Does   string   `json:"does"`           // the first action: send, done, follow, later, hold, fail or find
	From   []Person `json:"from,omitempty"` // who loses access; from the cloud
	Now    *Before  `json:"now,omitempty"`  // the reading; nil if the desktop does not exist
	Code   string   `json:"code,omitempty"` // why it is held or delayed
	Why    string   `json:"why,omitempty"`
}
