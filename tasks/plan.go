package tasks

import "time"

// Plan says what would become of every row of a request if it ran now, or how far the
// rows are read. Whoever can reach Redis may read on with it, see TakePlan: it outlives
// the process that began it. It is forgotten an hour after it was last read or asked for.
type Plan struct {
	ID        string    `json:"id"`
	Project   string    `json:"project"`
	State     string    `json:"state"` // PlanReading, PlanDone or PlanFailed
	CreatedAt time.Time `json:"created_at"`
	NotBefore time.Time `json:"not_before,omitzero"` // when the operation would start; zero: at once
	DueAt     time.Time `json:"due_at"`              // as of Request.Times
	Deadline  time.Time `json:"deadline"`
	Desktops  int       `json:"desktops"`  // that the request names
	Users     int       `json:"users"`     // that it names
	Computers int       `json:"computers"` // that it names
	Found     int       `json:"found"`     // desktops that users and computers lead to, known once all of those are read
	Read      int       `json:"read"`      // rows read so far
	Total     int       `json:"total"`     // rows to be read: all of the above
	// Counts are of the rows read so far, and so of all of them once it is done. Never nil.
	Counts []PlannedCount `json:"counts"`
	People int            `json:"people"`          // who would lose access, each once
	Groups int            `json:"groups"`          // of users, that would
	Error  string         `json:"error,omitempty"` // why it failed; may be the cloud's text
}

// What Plan.State can be.
const (
	PlanReading = "reading"
	PlanDone    = "done"
	PlanFailed  = "failed" // the cloud did not let all be read
)

// PlannedCount is how many rows of a plan have the same done about them.
type PlannedCount struct {
	Of    string `json:"of"`             // desktops, users or computers
	Does  string `json:"does"`           // as of Planned
	Code  string `json:"code,omitempty"` // as of Planned
	Count int    `json:"count"`
}

// Planned is what would become of a desktop, a user or a computer, if a request ran now.
type Planned struct {
	ID     string   `json:"id"` // as of Desktop: a desktop id, or "user:" or "computer:" and a name
	Expect []string `json:"expected_users,omitempty"`
	// Does is what happens first: send, done (nothing to do), follow, later (busy),
	// hold, or fail (it cannot be read). Of a user or a computer: find (the desktops
	// follow as rows of their own), done (there is none), hold or fail.
	Does string   `json:"does"`
	From []Person `json:"from,omitempty"` // who loses access; the cloud's text
	Now  *Before  `json:"now,omitempty"`  // what it was read as; left out where it does not exist
	Code string   `json:"code,omitempty"` // of what holds or delays it
	Why  string   `json:"why,omitempty"`
}
