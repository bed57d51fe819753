package tasks

import "time"

// Access is what a person still has, as the cloud showed it when it was asked. It says of every
// project whether it could be read: a project that could not be never looks as if the person
// had nothing there.
type Access struct {
	User     string          `json:"user"`
	ReadAt   time.Time       `json:"read_at"`  // when the reading began
	Complete bool            `json:"complete"` // every project could be read
	Items    []AccessDesktop `json:"items"`    // never null
	Projects []AccessRead    `json:"projects"` // never null
}

// AccessDesktop is a desktop that the person has. The texts are the cloud's.
type AccessDesktop struct {
	Project      string   `json:"project"`
	DesktopID    string   `json:"desktop_id"`
	ComputerName string   `json:"computer_name,omitempty"`
	AttachState  string   `json:"attach_state,omitempty"`
	Users        []Person `json:"users"` // all of the desktop
	Pooled       bool     `json:"pooled,omitempty"`
	// LastOperationID is the last operation that named the desktop.
	LastOperationID string `json:"last_operation_id,omitempty"`
}

// AccessRead says how a project was read.
type AccessRead struct {
	Project string `json:"project"`
	Read    bool   `json:"read"`            // it could be read, and nothing is missing
	Error   string `json:"error,omitempty"` // else why; may come from the cloud
	// Known says that the project's Workspace has a user of this name.
	Known bool `json:"known"`
	// Similar are users with a name like it: the same in other letters, or with a domain.
	Similar []string `json:"similar,omitempty"`
}
