package tasks

import "time"

// AuditAction says what an AuditEvent is about. The list is open: keep an unknown one.
type AuditAction string

// The actions.
const (
	AuditKeyCreated          AuditAction = "key.created"
	AuditKeyRevoked          AuditAction = "key.revoked"
	AuditSessionStarted      AuditAction = "session.started" // a person signed in to the dashboard
	AuditSessionEnded        AuditAction = "session.ended"   // signed out, or ended by a person; not by time
	AuditProjectPaused       AuditAction = "project.paused"
	AuditProjectResumed      AuditAction = "project.resumed"
	AuditOperationCreated    AuditAction = "operation.created"
	AuditOperationCancelled  AuditAction = "operation.cancelled"
	AuditOperationRetried    AuditAction = "operation.retried"
	AuditOperationApproved   AuditAction = "operation.approved"
	AuditOperationRejected   AuditAction = "operation.rejected"
	AuditOperationUndone     AuditAction = "operation.undone" // the target is the undo
	AuditStopped             AuditAction = "projects.stopped" // all of them
	AuditStopEnded           AuditAction = "projects.resumed"
	AuditRedriveCreated      AuditAction = "redrive.created"
	AuditRedriveAborted      AuditAction = "redrive.aborted"
	AuditCancellationCreated AuditAction = "cancellation.created"
	AuditCancellationAborted AuditAction = "cancellation.aborted"
	AuditRecallCreated       AuditAction = "recall.created"
	AuditFailuresDismissed   AuditAction = "failures.dismissed"
	AuditPlanCreated         AuditAction = "plan.created"
	AuditProtectionAdded     AuditAction = "protection.added"
	AuditProtectionRemoved   AuditAction = "protection.removed"
	AuditScheduleAdded       AuditAction = "schedule.added"
	AuditScheduleRemoved     AuditAction = "schedule.removed"
	AuditSchedulePaused      AuditAction = "schedule.paused"
	AuditScheduleResumed     AuditAction = "schedule.resumed"
	AuditScheduleRun         AuditAction = "schedule.run"             // besides its ticks
	AuditScheduleSkipped     AuditAction = "schedule.skipped"         // its next tick
	AuditScheduleUnskipped   AuditAction = "schedule.unskipped"       // that was taken back
	AuditPersonalData        AuditAction = "personal_data.downloaded" // a report, a file of failures, the access of a person
	AuditConfiguration       AuditAction = "configuration.changed"    // of guards and limits, found when a process starts
)

// AuditActions lists the actions.
var AuditActions = []AuditAction{
	AuditKeyCreated, AuditKeyRevoked, AuditSessionStarted, AuditSessionEnded, AuditProjectPaused, AuditProjectResumed, AuditOperationCreated,
	AuditOperationCancelled, AuditOperationRetried, AuditOperationApproved, AuditOperationRejected, AuditOperationUndone,
	AuditStopped, AuditStopEnded,
	AuditRedriveCreated, AuditRedriveAborted, AuditFailuresDismissed, AuditPlanCreated,
	AuditProtectionAdded, AuditProtectionRemoved, AuditPersonalData, AuditConfiguration, AuditCancellationCreated, AuditCancellationAborted,
	AuditScheduleAdded, AuditScheduleRemoved, AuditSchedulePaused, AuditScheduleResumed, AuditScheduleRun, AuditScheduleSkipped,
	AuditScheduleUnskipped,
	AuditRecallCreated,
}

// AuditOutcome says what an entry of the audit log reports.
type AuditOutcome string

// The outcomes.
const (
	// AuditStarted is written before the action, which does not happen without it. Without a
	// later AuditFailed of this entry the action took effect, or its process died in it.
	AuditStarted AuditOutcome = "started"
	// AuditFailed reports that the action of the entry OfSeq failed.
	AuditFailed AuditOutcome = "failed"
)

// AuditEvent is an entry of the audit log: who changed or downloaded what, when and why.
// It has no secret. Texts in it come from people.
type AuditEvent struct {
	// Seq counts the entries from 1. A key that is bound to projects does not get Seq,
	// OfSeq and the hashes: gaps would tell it how much happens elsewhere.
	Seq       int64        `json:"seq,omitempty"`
	ID        string       `json:"id"` // unique
	At        time.Time    `json:"at"` // by the clock of the process that wrote it
	Action    AuditAction  `json:"action"`
	Outcome   AuditOutcome `json:"outcome"`
	OfSeq     int64        `json:"of_seq,omitempty"` // of AuditFailed: the entry whose action failed
	KeyID     string       `json:"key_id,omitempty"` // omitted: the command line without a server, or a process itself
	KeyName   string       `json:"key_name,omitempty"`
	Owner     string       `json:"owner,omitempty"`   // the person who owns the key; at the command line the user of the machine
	Address   string       `json:"address,omitempty"` // of the sender; at the command line the name of the machine
	RequestID string       `json:"request_id,omitempty"`
	Project   string       `json:"project,omitempty"` // several are separated by ", "; omitted: none, or all
	Target    string       `json:"target,omitempty"`  // id of what was changed: an operation, a key, …
	Reason    string       `json:"reason,omitempty"`
	Detail    string       `json:"detail,omitempty"`
	// Previous is the hash of the entry before, empty for the first of all. Hash is the
	// SHA-256, in hex, of Previous followed by the entry as stored; see package trail.
	Previous string `json:"previous_hash,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

// AuditFilter selects entries of the audit log. Empty fields match all.
type AuditFilter struct {
	Action   AuditAction
	By       string // id or name of the key, or its owner
	Target   string
	From, To time.Time // written at or after From and before To
}

// Matches reports whether the filter selects an event; it does not look at From and To.
func (f AuditFilter) Matches(e AuditEvent) bool {
	return (f.Action == "" || f.Action == e.Action) && (f.Target == "" || f.Target == e.Target) &&
		(f.By == "" || f.By == e.KeyID || f.By == e.KeyName || f.By == e.Owner)
}
