package tasks

import "time"

// Stats is how a project is doing: what needs a person, what is moving, and what
// came of the last day. It is for looking at; the record of each operation is the
// truth. How exact it is:
//
//   - Queued, sending and accepted are the sums over the operations under way, each
//     exact at the moment it was read, a fraction of a second apart. Where there are
//     more than 10,000, or more than 100,000 with the scheduled ones, the oldest of
//     them are summed, and Partial is set.
//   - Failures are entries of the index: one that was just taken up again may still
//     be among them.
//   - What comes from tallies (Buckets, Removed, CallsPerMinute, Throttled, the counts
//     of the last 24 hours) lags a few seconds behind, lacks the last seconds of a
//     worker that was killed, and is by the clocks of the workers.
type Stats struct {
	Project string `json:"project"`
	Workers int    `json:"workers"` // that live and serve the project
	Pause   *Pause `json:"pause,omitempty"`
	// Counts are rows: desktops, and users who are still to be looked up. Queued,
	// sending and accepted: now; failed and held: not taken up again; detached and
	// cancelled: of the last 24 hours. StateExpanded is not counted.
	Counts     Counts `json:"counts"`
	Operations int    `json:"operations"`      // in the record
	Open       int    `json:"open_operations"` // under way: with work left, or with desktops that are not proven
	// Scheduled is how many operations are to start later. They are not among Open,
	// and their desktops not among the queued.
	Scheduled int            `json:"scheduled_operations"`
	Partial   bool           `json:"partial,omitempty"`
	Failures  []FailureCount `json:"failures"` // never null; the most first
	// Waiting is how many tasks (chunks of at most 100 desktops) wait in the queues,
	// and OldestMS for how long the first of them has. Those whose time has not come,
	// as they are to be tried again later, do not count.
	Waiting        int          `json:"waiting"`
	OldestMS       int64        `json:"oldest_ms"`
	Queues         []QueueDepth `json:"queues"`           // the same by queue
	CallsPerMinute float64      `json:"calls_per_minute"` // of the last 60 s
	Throttled      int          `json:"throttled"`        // calls that the cloud turned away in the last hour
	// Buckets are the last 24 hours in steps of StatsStep, the earliest first, those
	// without anything included. The last is the current one.
	Buckets []StatsBucket `json:"buckets"`
	// Removed counts desktops of the last 24 hours by how long it took to the proof:
	// from being due, and from the acceptance.
	Removed []RemovedBucket `json:"access_removed"`
}

// Unserved is how many rows wait for a worker where none serves the project.
func (s Stats) Unserved() int {
	if s.Workers > 0 {
		return 0
	}
	return s.Counts.Unsettled()
}

// QueueDepth is what waits in one of a project's queues.
type QueueDepth struct {
	Queue    string `json:"queue"` // urgent, small or bulk
	Waiting  int    `json:"waiting"`
	OldestMS int64  `json:"oldest_ms"`
}

// StatsStep is the length of a bucket.
const StatsStep = 15 * time.Minute

// StatsBucket is what happened within a step.
type StatsBucket struct {
	From time.Time `json:"from"`
	Tally
}

// RemovedBucket counts the desktops that took at most so long, and longer than
// the bucket before says. The last has no limit: 0.
type RemovedBucket struct {
	AtMostSeconds int `json:"at_most_seconds"`
	Desktops      int `json:"desktops"`       // since due
	SinceAccepted int `json:"since_accepted"` // desktops, since accepted
}

// Tally counts what happened in a project within some time.
type Tally struct {
	Calls     int `json:"calls"`     // detach calls
	Throttled int `json:"throttled"` // of those, that the cloud turned away as too many
	Detached  int `json:"detached"`  // desktops, and users who have none
	Failed    int `json:"failed"`    // a desktop that is taken up again and fails once more counts twice
	Held      int `json:"held"`
	Cancelled int `json:"cancelled"`
	Retried   int `json:"retried"` // refusals that were tried again
}

// Worker is a worker process as the record knows it.
type Worker struct {
	ID       string
	LastBeat time.Time
	Silent   time.Duration // since the last beat, by Redis' clock
}

// silentAfter is when a worker that does not beat is taken for dead, by whoever asks who
// works; they beat every two seconds. Workers take over from each other sooner.
const silentAfter = 30 * time.Second

// Alive reports that it has beaten lately.
func (w Worker) Alive() bool { return w.Silent < silentAfter }
