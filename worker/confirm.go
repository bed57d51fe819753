package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

const (
	// lookLease is how long a chunk that is looked at is left alone by other
	// workers. A look that takes longer, or a worker that dies, costs a second
	// reading and nothing else.
	lookLease = 15 * time.Second
	// widestGap is the longest time between two looks at a desktop.
	widestGap = 2 * time.Minute
	// looksAtOnce bounds the chunks of one look.
	looksAtOnce = 64
)

// follower proves what the cloud has accepted, for one project, by reading the
// desktops, a hundred at a time, of whatever operations. Where there is a job its
// parts say when to read, and why it failed; that a job has succeeded is no proof:
// the desktop may still show its users, and then it is theirs until it does not.
type follower struct {
	*sender
	until  context.Context // ends when nothing new is to be begun
	failed int             // readings in a row
}

// nextLook says when a desktop that was accepted at a time is to be looked at
// next: after firstLook, then at gaps that triple, up to widestGap, and when the
// time for a proof is over.
func (s *sender) nextLook(accepted, now time.Time) time.Time {
	next, gap := accepted.Add(s.firstLook), 3*s.firstLook
	for !next.After(now) {
		next, gap = next.Add(gap), min(3*gap, widestGap)
	}
	if end := accepted.Add(s.confirmWithin); now.Before(end) && end.Before(next) {
		return end
	}
	return next
}

// run looks until ctx ends. Errors of Redis end a look; its lease runs out and
// somebody looks again.
func (f *follower) run() {
	idle := min(max(f.firstLook/4, 20*time.Millisecond), time.Second)
	for {
		n, err := f.look()
		if err != nil && f.until.Err() == nil {
			f.log.Warn().Err(err).Str("project", f.project.Alias).Msg("proving detached desktops failed; trying again")
		}
		pause := idle
		switch {
		case err != nil:
			pause = max(idle, refusedPause)
		case n > 0:
			continue
		}
		if !wait(f.until, pause) {
			return
		}
	}
}

// look takes what is due, reads it, and writes what it shows. n is how many
// chunks it was about.
func (f *follower) look() (n int, err error) {
	var chunks []record.Followed
	ids := map[string]bool{}
	for len(ids) < f.project.MaxReads*apiclient.MaxDesktopsPerCall && len(chunks) < 4*looksAtOnce {
		some, err := f.record.TakeDue(f.until, f.project.Alias, f.now(), lookLease, looksAtOnce)
		if err != nil {
			return 0, err
		}
		if len(some) == 0 {
			break
		}
		for _, c := range some {
			for _, d := range inState(c.Desktops, tasks.StateAccepted) {
				ids[d.ID] = true
			}
		}
		chunks = append(chunks, some...)
	}
	if len(chunks) == 0 {
		return 0, nil
	}
	now := f.now()
	p := f.gatherProof(chunks, now)
	if f.until.Err() != nil {
		return 0, f.until.Err()
	}
	return len(chunks), f.settleLooks(chunks, p, now)
}

// proof is what the cloud said.
type proof struct {
	jobs    map[string]map[string]apiclient.SubJob // by job, by desktop
	jobOf   map[string]string                      // by call
	asked   map[string]bool                        // desktops of lists that were answered; one that is not in read then does not exist
	read    map[string]apiclient.Desktop
	unread  map[string]error // desktops that could not be read
	backoff time.Duration    // when to look again at those
}

// job is a desktop's part of the job that its call began.
func (p *proof) job(d record.Row) (part apiclient.SubJob, known bool) {
	part, known = p.jobs[p.jobOf[d.CallID]][d.ID]
	return part, known
}

func (p *proof) jobRuns(d record.Row) bool {
	part, _ := p.job(d)
	return part.Status == "RUNNING" || part.Status == "WAITING"
}

// timeIsUp says that the time for a proof is over.
func (f *follower) timeIsUp(d record.Row, now time.Time) bool {
	return !now.Before(d.UpdatedAt.Add(f.confirmWithin))
}

// due says that a desktop is to be looked at now: one that was accepted a
// moment ago has its own time.
func (f *follower) due(d record.Row, now time.Time) bool {
	return !now.Before(d.UpdatedAt.Add(f.firstLook))
}

// gatherProof asks the cloud.
func (f *follower) gatherProof(chunks []record.Followed, now time.Time) *proof {
	p := &proof{
		jobs: map[string]map[string]apiclient.SubJob{}, jobOf: map[string]string{},
		asked: map[string]bool{}, read: map[string]apiclient.Desktop{}, unread: map[string]error{},
	}
	f.askJobs(chunks, p)
	var ids []string
	for _, c := range chunks {
		for _, d := range inState(c.Desktops, tasks.StateAccepted) {
			if !f.due(d, now) {
				continue
			}
			if !p.jobRuns(d) || f.timeIsUp(d, now) {
				ids = append(ids, d.ID)
			}
		}
	}
	slices.Sort(ids)
	f.readAll(slices.Compact(ids), p)
	return p
}

// askJobs reads the jobs of those that have one. What cannot be read of them is
// left to reading the desktops.
func (f *follower) askJobs(chunks []record.Followed, p *proof) {
	calls := map[string][]string{} // by operation
	for _, c := range chunks {
		for _, d := range inState(c.Desktops, tasks.StateAccepted) {
			if d.Note == tasks.NoteByJob && !slices.Contains(calls[c.Operation.ID], d.CallID) {
				calls[c.Operation.ID] = append(calls[c.Operation.ID], d.CallID)
			}
		}
	}
	for op, ids := range calls {
		found, err := f.record.CallsNamed(f.until, op, ids...)
		if err != nil {
			f.log.Warn().Err(err).Str("operation", op).Msg("the calls' jobs could not be read; the desktops are read instead")
			continue
		}
		for id, call := range found {
			p.jobOf[id] = call.JobID
			p.jobs[call.JobID] = nil
		}
	}
	delete(p.jobs, "")
	jobs := make([]string, 0, len(p.jobs))
	for job := range p.jobs {
		jobs = append(jobs, job)
	}
	var mu sync.Mutex
	f.inParallel(len(jobs), func(ctx context.Context, i int) {
		begun := f.now()
		parts, err := f.project.API.SubJobs(ctx, jobs[i])
		f.tellReading(ReadJob, 1, begun, err)
		if err != nil {
			f.log.Warn().Err(err).Str("project", f.project.Alias).Str("job_id", jobs[i]).Msg("a job could not be read; its desktops are")
			return
		}
		byDesktop := make(map[string]apiclient.SubJob, len(parts))
		for _, s := range parts {
			byDesktop[s.DesktopID] = s
		}
		mu.Lock()
		defer mu.Unlock()
		p.jobs[jobs[i]] = byDesktop
	})
}

func (f *follower) readAll(ids []string, p *proof) {
	groups := slices.Collect(slices.Chunk(ids, apiclient.MaxDesktopsPerCall))
	var mu sync.Mutex
	f.inParallel(len(groups), func(ctx context.Context, i int) {
		begun := f.now()
		list, err := f.project.API.Desktops(ctx, groups[i])
		f.tellReading(ReadDesktops, len(groups[i]), begun, err)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			f.failed = 0
			for _, id := range groups[i] {
				p.asked[id] = true
			}
			for _, d := range list {
				p.read[d.ID] = d
			}
			return
		}
		f.failed++
		f.log.Warn().Err(err).Str("project", f.project.Alias).Int("desktops", len(groups[i])).Msg("accepted desktops could not be read; trying again")
		p.backoff = max(p.backoff, asAPIError(err).RetryAfter, f.backoff(f.failed))
		for _, id := range groups[i] {
			p.unread[id] = err
		}
	})
}

// inParallel makes n requests under the limits of readings.
func (f *follower) inParallel(n int, request func(ctx context.Context, i int)) {
	var all sync.WaitGroup
	places := make(chan struct{}, f.project.MaxReads)
	for i := range n {
		places <- struct{}{}
		if f.limit.take(f.until, readRequest, toProve) != nil {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeoutCause(f.ctx, f.project.CallTimeout, errSlowReading)
			defer cancel()
			request(ctx, i)
		})
	}
	all.Wait()
}

// settleLooks enters what was proven, and when to look again at the rest.
func (f *follower) settleLooks(chunks []record.Followed, p *proof, asked time.Time) error {
	now := f.now()
	var changes []record.Change
	var looks record.Looks
	again := map[int]record.Followed{} // by change, chunks of which something goes back to the queue
	for _, c := range chunks {
		ch := record.Change{Operation: c.Operation, Chunk: c.Number, By: f.worker}
		var next time.Time
		sooner := func(t time.Time) {
			if next.IsZero() || t.Before(next) {
				next = t
			}
		}
		for _, d := range inState(c.Desktops, tasks.StateAccepted) {
			if !f.due(d, asked) {
				sooner(d.UpdatedAt.Add(f.firstLook))
				continue
			}
			m, decided := f.decide(c.Operation, d, p, now)
			switch {
			case decided:
				ch.Moves = append(ch.Moves, m)
				if m.To == tasks.StateQueued {
					again[len(changes)] = c
				}
			case p.unread[d.ID] != nil:
				sooner(now.Add(p.backoff))
			default:
				sooner(f.nextLook(d.UpdatedAt, now))
			}
		}
		if len(ch.Moves) > 0 {
			changes = append(changes, ch)
		}
		looks = append(looks, record.Look{Followed: c, Next: next})
	}
	applied, err := persist(f.ctx, f.log, func() ([]record.Applied, error) {
		return f.record.Apply(f.ctx, now, changes, looks)
	})
	if err != nil {
		return err
	}
	for i, a := range applied {
		tellMoves(f.observer, changes[i], a)
		if a.Ended {
			f.ended(changes[i].Operation.ID)
		}
		if c, ok := again[i]; ok {
			// If this is lost a reconciler finds the chunk without a task.
			if err := f.producer.Regenerate(f.ctx, record.OpenChunk{Operation: c.Operation, Number: c.Number, Generation: c.Generation}); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide says what becomes of an accepted desktop; false if it is to be looked
// at again.
func (f *follower) decide(op record.Operation, d record.Row, p *proof, now time.Time) (record.Move, bool) {
	m := record.Move{Desktop: d, Attempts: d.Attempts, CallID: d.CallID}
	timeIsUp := f.timeIsUp(d, now)
	if err := p.unread[d.ID]; err != nil {
		// Without a reading nothing is known; that is borne twice as long.
		if now.Before(d.UpdatedAt.Add(2 * f.confirmWithin)) {
			return m, false
		}
		return f.unconfirmed(m, "", "it could not be read: "+err.Error(), now), true
	}
	if !p.asked[d.ID] {
		return m, false // its job runs, or the worker is stopping: nothing is known, least of all that it is gone
	}
	l := lookAt(op, d, p.read, true)
	row := policy.VerdictOf(l)
	m.Detail = l.ProofAfterCall()
	action := row.After
	failure := &tasks.Failure{
		DesktopName: l.ComputerName, Code: row.Code, Message: l.Reason(row), Class: tasks.ClassTransient, CallID: d.CallID, At: now,
	}
	job, _ := p.job(d)
	if job.Status == "FAILED" && action != policy.Done {
		if action == policy.Wait {
			action = policy.Once
		}
		failure.Code, failure.Message = orUnknown(job.Code), fmt.Sprintf("the cloud's job failed: %s (the desktop was then read as %s)", job.Reason, l.SeenBy())
	}
	switch {
	case action == policy.Done:
		m.To, m.Note = tasks.StateDetached, noted[row.Note]
	case action == policy.Later || action == policy.Once && d.Attempts == 0:
		m.Attempts++
		failure.Attempts = m.Attempts
		m.To, m.Note, m.Failure = tasks.StateQueued, tasks.NoteNone, failure
		if m.Attempts >= f.maxAttempts {
			m.To = tasks.StateFailed
		}
	case action == policy.Once:
		m.Attempts++
		failure.Attempts, failure.Class = m.Attempts, tasks.ClassPermanent
		m.To, m.Failure = tasks.StateFailed, failure
	case timeIsUp && l.Absent(): // it never settled, but the expected user is off it
		m.To, m.Note = tasks.StateDetached, tasks.NoteNotTheirs
	case timeIsUp:
		why := "it still reads as " + l.SeenBy()
		if job.Status != "" {
			why += fmt.Sprintf(", and its job as %.40s", job.Status)
		}
		return f.unconfirmed(m, l.ComputerName, why, now), true
	default:
		return m, false
	}
	return m, true
}

// unconfirmed fails a desktop for which there is no proof in time.
func (f *follower) unconfirmed(m record.Move, name, why string, now time.Time) record.Move {
	m.To = tasks.StateFailed
	m.Failure = &tasks.Failure{
		DesktopName: name, Code: "UNCONFIRMED", Class: tasks.ClassAmbiguous, CallID: m.CallID, Attempts: m.Attempts, At: now,
		Message: fmt.Sprintf("the cloud accepted it, but after %s %s: look at the desktop in the console, then retry", f.confirmWithin, why),
	}
	return m
}
