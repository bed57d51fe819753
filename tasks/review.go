package tasks

import (
	"fmt"
	"time"
)

// AccessReview says who of the people that were detached since a time has a desktop again. Each
// person is looked for in the project in which the desktop was. Like a plan it outlives the
// process that began it, and expires an hour after its last use. It detaches nobody.
type AccessReview struct {
	ID        string    `json:"id"`
	Project   string    `json:"project,omitempty"` // only this one; empty: all that the caller sees
	Since     time.Time `json:"since"`
	State     string    `json:"state"` // PlanReading, PlanDone or PlanFailed
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Complete says that it is done and that each project was read whole: who is not among its
	// items has no desktop that a reading shows.
	Complete bool `json:"complete"`
	Desktops int  `json:"desktops"` // confirmed detached since then
	People   int  `json:"people"`   // who lost access by that
	Groups   int  `json:"groups"`   // user groups that did: no reading shows who is in them
	Read     int  `json:"read"`     // people who were looked for so far
	Readings int  `json:"readings"` // readings of the cloud so far
	// CameBack counts the people who have a desktop other than what an undo gave back to them;
	// GivenBack those who have only that.
	CameBack  int              `json:"came_back"`
	GivenBack int              `json:"given_back"`
	Projects  []ReviewedAccess `json:"projects"`        // never null; known once the record is read
	Error     string           `json:"error,omitempty"` // why it failed
}

// ReviewedAccess is the part of an AccessReview in one project.
type ReviewedAccess struct {
	Project string `json:"project"`
	People  int    `json:"people"`
	Read    bool   `json:"read"`            // all of them were looked for, and nothing is missing
	Error   string `json:"error,omitempty"` // why not; may come from the cloud
}

// Returned is a desktop that a person has who was detached. The texts are the cloud's.
type Returned struct {
	User   string `json:"user"`
	UserID string `json:"user_id,omitempty"` // of the user who has the desktop
	How    string `json:"how"`               // one of Came…
	// OtherUser says that the cloud has another user id than those that were detached: another
	// account with the name, such as that of a person who was hired again.
	OtherUser bool   `json:"other_user,omitempty"`
	Why       string `json:"why,omitempty"` // of CameByGroup
	// AccessDesktop has no DesktopID for CameByGroup.
	AccessDesktop
	DetachedAt          time.Time `json:"detached_at"`           // confirmed; the last time
	DetachedDesktopID   string    `json:"detached_desktop_id"`   // what they lost then
	DetachedOperationID string    `json:"detached_operation_id"` // by this operation
	UndoID              string    `json:"undo_id,omitempty"`     // of CameByUndo
}

// Values of Returned.How.
const (
	CameSame    = "same_desktop"   // the desktop that was detached from them
	CameOther   = "other_desktop"  // another one, of one user; it may have been theirs all the time
	CameShared  = "shared_desktop" // one of several users, which was not detached from them
	CameByUndo  = "given_back"     // by an undo
	CameByGroup = "group"          // Workspace counts more desktops than it lists: access may come through a group
)

// Again reports that the person has a desktop again that detachd may detach by a rule: not one
// that an undo gave back, nor one of another account with the name, nor a shared one or one of
// a group, which they may never have lost. Those are for a person to judge.
func (c Returned) Again() bool {
	return (c.How == CameSame || c.How == CameOther) && !c.OtherUser && !c.Pooled
}

// MaxReviewed is the number of people that an AccessReview may be about.
const MaxReviewed = 100_000

// ErrTooManyReviewed says that more than MaxReviewed people were detached.
var ErrTooManyReviewed = fmt.Errorf("more than %d people were detached since then: ask for one project, or a later time", MaxReviewed)

// ErrNoReview says that there is no such review of access, or it has expired.
var ErrNoReview = fmt.Errorf("no such review of access (or it has expired)")
