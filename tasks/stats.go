package tasks

import "time"

// Stats is the state of a project: what needs attention, what is in progress, what is coming,
// and the results of the last hour, day or week. It is for display; the record of each operation is exact.
//
//   - Queued, sending and accepted are sums over the operations in progress, each exact
//     when it was read, a fraction of a second apart. Beyond 10,000 of them, or 100,000
//     with the scheduled ones, only the oldest are summed, and Partial is set.
//   - Failures come from the index. A desktop that was just retried may still be in it.
//   - Figures from tallies (Buckets, Results, Removed, CallsPerMinute, Throttled, the counts
//     of detached and cancelled) are a few seconds late, lack the last seconds of a killed
//     worker, and use the clocks of the workers.
type Stats struct {
	Project string     `json:"project"`
	Range   StatsRange `json:"range"`   // of Buckets, Results, Removed and the counts of detached and cancelled
	Workers int        `json:"workers"` // alive, and serving the project
	Pause   *Pause     `json:"pause,omitempty"`
	// Counts are rows: desktops, and users still to be looked up. Queued, sending and
	// accepted: now. Failed and held: in the inbox. Detached and cancelled: within the
	// range. StateExpanded is not counted.
	Counts     Counts `json:"counts"`
	Operations int    `json:"operations"`      // in the record
	Open       int    `json:"open_operations"` // in progress: with work left, or with desktops not yet confirmed
	// Scheduled operations start later. Neither Open nor the queued desktops include
	// them.
	Scheduled int `json:"scheduled_operations"`
	// AwaitingApproval operations send nothing until a person decides.
	AwaitingApproval int `json:"awaiting_approval"`
	// DueToday are scheduled operations that start today (UTC), and operations in progress
	// whose due time is still to come today.
	DueToday int            `json:"due_today"`
	Partial  bool           `json:"partial,omitempty"`
	Failures []FailureCount `json:"failures"` // never null; the largest count first
	// Waiting is the number of tasks (chunks of up to 100 desktops) in the queues, and
	// OldestMS the age of the oldest. Tasks that are retried later do not count yet.
	Waiting        int          `json:"waiting"`
	OldestMS       int64        `json:"oldest_ms"`
	Queues         []QueueDepth `json:"queues"`           // by queue
	CallsPerMinute float64      `json:"calls_per_minute"` // over the last 60 s
	Throttled      int          `json:"throttled"`        // calls that the cloud throttled in the last hour
	// Buckets are the range in steps of Range.Step, the earliest first, empty ones included.
	// The last one is the current one. Those of the last hour have no calls.
	Buckets []StatsBucket `json:"buckets"`
	Results Tally         `json:"results"` // the sum of Buckets
	// TargetSeconds is the configured target of the time to access removal.
	TargetSeconds int `json:"target_seconds,omitempty"`
	// Removed counts the desktops detached within the range by the time to access removal.
	Removed []RemovedBucket `json:"access_removed"`
}

// Unserved is the number of rows that wait while no worker serves the project.
func (s Stats) Unserved() int {
	if s.Workers > 0 {
		return 0
	}
	return s.Counts.Unsettled()
}

// QueueDepth is the backlog of one queue of a project.
type QueueDepth struct {
	Queue    string `json:"queue"` // urgent, small or bulk
	Waiting  int    `json:"waiting"`
	OldestMS int64  `json:"oldest_ms"`
}

// StatsRange is the period that Stats looks back on.
type StatsRange string

// The ranges.
const (
	LastHour StatsRange = "1h"
	LastDay  StatsRange = "24h"
	LastWeek StatsRange = "7d"
)

// Step is the length of a bucket; 0: there is no such range.
func (x StatsRange) Step() time.Duration {
	switch x {
	case LastHour:
		return time.Minute
	case LastDay:
		return 15 * time.Minute
	case LastWeek:
		return 2 * time.Hour
	}
	return 0
}

// Steps is the number of buckets.
func (x StatsRange) Steps() int {
	switch x {
	case LastHour:
		return 60
	case LastDay:
		return 96
	case LastWeek:
		return 84
	}
	return 0
}

// StatsBucket is a Tally of one step.
type StatsBucket struct {
	From time.Time `json:"from"`
	Tally
}

// RemovedBucket counts desktops that took at most AtMostSeconds, and longer than the
// bucket before. The last bucket has no limit: 0.
type RemovedBucket struct {
	AtMostSeconds int `json:"at_most_seconds"`
	Desktops      int `json:"desktops"`       // since they were due
	SinceAccepted int `json:"since_accepted"` // since the operation was accepted
}

// Tally counts what happened in a project within a period.
type Tally struct {
	Calls     int `json:"calls"`     // detach calls
	Throttled int `json:"throttled"` // of those, throttled by the cloud
	Detached  int `json:"detached"`  // desktops, and users without one
	Failed    int `json:"failed"`    // a desktop that is retried and fails again counts twice
	Held      int `json:"held"`
	Cancelled int `json:"cancelled"`
	Retried   int `json:"retried"` // refusals that were retried
}

// Worker is a worker process.
type Worker struct {
	ID       string
	LastBeat time.Time
	Silent   time.Duration // since the last beat, by Redis' clock
}

// silentAfter is the age of a heartbeat after which a worker is shown as dead. Workers
// beat every two seconds, and take over from each other sooner than this.
const silentAfter = 30 * time.Second

// Alive reports whether the worker has sent a heartbeat lately.
func (w Worker) Alive() bool { return w.Silent < silentAfter }
