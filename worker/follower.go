package worker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

const (
	// pollLease is how long other workers skip a chunk that is polled. A poll that
	// takes longer, or a worker that dies, costs a second reading and nothing else.
	pollLease = 15 * time.Second
	// maxPollGap is the longest time between two polls of a desktop.
	maxPollGap = 2 * time.Minute
	// pollBatch is how many chunks are leased at a time; one poll has up to four times as many.
	pollBatch = 64
)

// follower confirms what the cloud has accepted in one project, by reading the desktops of
// all operations, a hundred at a time. Where a call has a job, its parts say when to read and
// why it failed. A job that succeeded proves nothing: a desktop that still shows its users
// is theirs until it does not.
type follower struct {
	*shared
	gate   *gate // open while the project is served
	failed int   // readings in a row
}

// run polls while the gate is open, until ctx ends. An error of Redis ends a poll: its lease runs
// out, and some worker polls again.
func (f *follower) run(ctx context.Context) {
	idle := min(max(f.cfg.FirstLook/4, 20*time.Millisecond), time.Second)
	for f.gate.pass(ctx) {
		n, err := f.poll(ctx)
		delay := idle
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.log.Warn().Err(err).Msg("accepted desktops could not be confirmed; retrying")
			delay = max(idle, refusedPause)
		case n > 0:
			continue
		}
		if !wait(ctx, delay) {
			return
		}
	}
}

// poll reads what is due and writes what the readings show. n is the number of chunks.
func (f *follower) poll(ctx context.Context) (n int, err error) {
	var chunks []record.Followed
	ids := map[string]bool{}
	for len(ids) < f.project.MaxReads*apiclient.MaxDesktopsPerCall && len(chunks) < 4*pollBatch {
		some, err := f.record.TakeDue(ctx, f.project.Alias, time.Now(), pollLease, pollBatch)
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
	begun := time.Now()
	p := f.gatherProof(ctx, chunks, begun)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return len(chunks), f.settle(chunks, p, begun)
}

// proof is what the cloud said.
type proof struct {
	jobs    map[string]map[string]apiclient.SubJob // by job, by desktop
	jobOf   map[string]string                      // by call
	asked   map[string]error                       // by desktop: why it could not be read; nil: it was, and exists if it is in read
	read    map[string]*apiclient.Desktop
	backoff time.Duration // until the next poll of those that could not be read

	readings []reading // that have spans
}

// job is a desktop's part of the job of its call; zero if there is none.
func (p *proof) job(d record.Row) apiclient.SubJob { return p.jobs[p.jobOf[d.CallID]][d.ID] }

func (p *proof) jobRuns(d record.Row) bool {
	status := p.job(d).Status
	return status == "RUNNING" || status == "WAITING"
}

// timeIsUp reports whether a desktop should have been confirmed by now.
func (f *follower) timeIsUp(d record.Row, now time.Time) bool {
	return !now.Before(d.UpdatedAt.Add(f.cfg.ConfirmWithin))
}

// due reports whether a desktop is to be polled now. Others of its chunk may be due before it.
func (f *follower) due(d record.Row, now time.Time) bool {
	return !now.Before(d.UpdatedAt.Add(f.cfg.FirstLook))
}

// nextPoll returns when to poll a desktop that was accepted at a time: after FirstLook, then
// at gaps that triple, up to maxPollGap, and at the end of ConfirmWithin.
func (f *follower) nextPoll(accepted, now time.Time) time.Time {
	next, gap := accepted.Add(f.cfg.FirstLook), 3*f.cfg.FirstLook
	for !next.After(now) {
		next, gap = next.Add(gap), min(3*gap, maxPollGap)
	}
	if end := accepted.Add(f.cfg.ConfirmWithin); now.Before(end) && end.Before(next) {
		return end
	}
	return next
}

// gatherProof asks the cloud.
func (f *follower) gatherProof(ctx context.Context, chunks []record.Followed, now time.Time) *proof {
	p := &proof{
		jobs: map[string]map[string]apiclient.SubJob{}, jobOf: map[string]string{},
		asked: map[string]error{}, read: map[string]*apiclient.Desktop{},
	}
	f.readJobs(ctx, chunks, p)
	var ids []string
	for _, c := range chunks {
		for _, d := range inState(c.Desktops, tasks.StateAccepted) {
			if f.due(d, now) && (!p.jobRuns(d) || f.timeIsUp(d, now)) {
				ids = append(ids, d.ID)
			}
		}
	}
	slices.Sort(ids)
	f.readAll(ctx, chunks, slices.Compact(ids), p)
	return p
}

// readJobs reads the jobs of calls that have one. Where that fails the desktops are read
// instead.
func (f *follower) readJobs(ctx context.Context, chunks []record.Followed, p *proof) {
	calls := map[string][]string{} // by operation
	for _, c := range chunks {
		for _, d := range inState(c.Desktops, tasks.StateAccepted) {
			if d.Note == tasks.NoteByJob && !slices.Contains(calls[c.Operation.ID], d.CallID) {
				calls[c.Operation.ID] = append(calls[c.Operation.ID], d.CallID)
			}
		}
	}
	for op, ids := range calls {
		found, err := f.record.CallsNamed(ctx, op, ids...)
		if err != nil {
			f.log.Warn().Err(err).Str("operation", op).Msg("the jobs of calls could not be looked up; their desktops are read instead")
			continue
		}
		for id, call := range found {
			p.jobOf[id] = call.JobID
			p.jobs[call.JobID] = nil
		}
	}
	delete(p.jobs, "")
	jobs := slices.Collect(maps.Keys(p.jobs))
	var mu sync.Mutex
	f.inParallel(ctx, len(jobs), func(ctx context.Context, i int) {
		span := f.beginReading(readJob, 1, chunks, func(d record.Row) bool { return p.jobOf[d.CallID] == jobs[i] })
		begun := time.Now()
		parts, err := f.project.API.SubJobs(ctx, jobs[i])
		span.Read(f.faultOf(err).class)
		f.reportReading(readJob, 1, begun, err)
		if err != nil {
			f.log.Warn().Err(err).Str("job_id", jobs[i]).Msg("a job could not be read; its desktops are read instead")
			return
		}
		byDesktop := make(map[string]apiclient.SubJob, len(parts))
		for _, part := range parts {
			byDesktop[part.DesktopID] = part
		}
		mu.Lock()
		defer mu.Unlock()
		p.jobs[jobs[i]] = byDesktop
	})
}

func (f *follower) readAll(ctx context.Context, chunks []record.Followed, ids []string, p *proof) {
	groups := slices.Collect(slices.Chunk(ids, apiclient.MaxDesktopsPerCall))
	var mu sync.Mutex
	f.inParallel(ctx, len(groups), func(ctx context.Context, i int) {
		span := f.beginReading(readDesktops, len(groups[i]), chunks, func(d record.Row) bool { return contains(groups[i], d.ID) })
		list, refused, err := f.readGroup(ctx, groups[i])
		span.Read(f.faultOf(err).class)
		mu.Lock()
		defer mu.Unlock()
		for _, id := range groups[i] {
			p.asked[id] = cmp.Or(refused[id], err)
		}
		if span != nil {
			p.readings = append(p.readings, reading{span, groups[i]})
		}
		for i := range list {
			p.read[list[i].ID] = &list[i]
		}
		if err == nil {
			f.failed = 0
			return
		}
		f.failed++
		f.log.Warn().Err(err).Int("desktops", len(groups[i])).Msg("accepted desktops could not be read; retrying")
		p.backoff = max(p.backoff, asAPIError(err).RetryAfter, f.backoff(f.failed))
	})
}

// readGroup reads desktops; refused is that of readable. The caller has the permit of the first
// request.
func (f *follower) readGroup(ctx context.Context, ids []string) (list []apiclient.Desktop, refused map[string]error, err error) {
	permit := true
	return readable(f.shared, ids, func(ids []string) ([]apiclient.Desktop, error) {
		if !permit {
			if err := f.limit.acquire(ctx, readRequest, toConfirm); err != nil {
				return nil, err
			}
		}
		permit = false
		begun := time.Now()
		list, err := f.project.API.Desktops(ctx, ids)
		f.reportReading(readDesktops, len(ids), begun, err)
		return list, err
	})
}

// inParallel makes n requests within the limits of readings. It begins none after ctx has
// ended.
func (f *follower) inParallel(ctx context.Context, n int, request func(ctx context.Context, i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, f.project.MaxReads)
	for i := range n {
		slots <- struct{}{}
		if f.limit.acquire(ctx, readRequest, toConfirm) != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeoutCause(f.inFlight, f.project.CallTimeout, errSlowReading)
			defer cancel()
			request(ctx, i)
		})
	}
	all.Wait()
}

// settle writes what is confirmed, and when to poll the rest.
func (f *follower) settle(chunks []record.Followed, p *proof, begun time.Time) error {
	now := time.Now()
	var changes []record.Change
	var polls record.Looks
	var requeued []record.OpenChunk
	for _, c := range chunks {
		moves, next := f.judge(c, p, begun, now)
		polls = append(polls, record.Look{Followed: c, Next: next})
		if len(moves) > 0 {
			changes = append(changes, record.Change{Operation: c.Operation, Chunk: c.Number, By: f.cfg.ID, Moves: moves})
		}
		if slices.ContainsFunc(moves, func(m record.Move) bool { return m.To == tasks.StateQueued }) {
			requeued = append(requeued, openChunk(c.Chunk))
		}
	}
	applied, err := f.committer.commit(f.inFlight, changes, polls)
	if err != nil {
		return err
	}
	f.traceConfirmed(changes, applied, p.readings, begun)
	for _, c := range requeued { // if this is lost, the reconciler finds the chunk without a task
		if err := f.producer.Regenerate(f.inFlight, c); err != nil {
			return err
		}
	}
	return nil
}

// judge returns the moves of a chunk's accepted desktops, and when to poll the others.
func (f *follower) judge(c record.Followed, p *proof, begun, now time.Time) (moves []record.Move, next time.Time) {
	accepted := inState(c.Desktops, tasks.StateAccepted)
	for i, d := range accepted {
		var poll time.Time
		if !f.due(d, begun) {
			poll = d.UpdatedAt.Add(f.cfg.FirstLook)
		} else if m, decided := f.decide(c.Operation, d, p, now); decided {
			if moves == nil {
				moves = make([]record.Move, 0, len(accepted)-i)
			}
			moves = append(moves, m)
			continue
		} else if p.asked[d.ID] != nil && p.backoff > 0 {
			poll = now.Add(p.backoff)
		} else {
			poll = f.nextPoll(d.UpdatedAt, now)
		}
		if next.IsZero() || poll.Before(next) {
			next = poll
		}
	}
	return moves, next
}

// decide returns the move of an accepted desktop; false if it is to be polled again.
func (f *follower) decide(op record.Operation, d record.Row, p *proof, now time.Time) (record.Move, bool) {
	m := record.Move{Desktop: d, Attempts: d.Attempts, CallID: d.CallID}
	err, asked := p.asked[d.ID]
	switch {
	case !asked:
		return m, false // its job runs, or the worker is stopping: it must not be taken for gone
	case err != nil:
		// Without a reading nothing is known; that may last twice as long.
		if now.Before(d.UpdatedAt.Add(2 * f.cfg.ConfirmWithin)) {
			return m, false
		}
		return f.unconfirmed(m, "", "it could not be read: "+err.Error(), now), true
	}
	r := readingOf(op, d, p.read, true)
	row, job := policy.VerdictOf(r), p.job(d)
	m.Detail = r.ProofAfterCall()
	switch action := actionAfter(row, job); {
	case action == policy.Done:
		m.To, m.Note = tasks.StateDetached, recordNotes[row.Note]
	case action == policy.Later, action == policy.Once && d.Attempts == 0:
		m.To = tasks.StateQueued
		m.Failure = attemptFailed(&m, row, r, job, tasks.ClassTransient)
		if m.Attempts >= f.cfg.MaxAttempts {
			m.To = tasks.StateFailed
		}
	case action == policy.Once:
		m.To = tasks.StateFailed
		m.Failure = attemptFailed(&m, row, r, job, tasks.ClassPermanent)
	case !f.timeIsUp(d, now):
		return m, false
	case r.Absent(): // it never settled, but the expected user is not on it any more
		m.To, m.Note = tasks.StateDetached, tasks.NoteNotTheirs
	default:
		why := "it still reads as " + r.SeenBy()
		if job.Status != "" {
			why += fmt.Sprintf(", and its job as %.40s", job.Status)
		}
		return f.unconfirmed(m, r.ComputerName, why, now), true
	}
	return m, true
}

// actionAfter is the action for an accepted desktop. If its job failed there is nothing
// to wait for: it is sent again once.
func actionAfter(row policy.VerdictRow, job apiclient.SubJob) policy.Action {
	if row.After == policy.Wait && job.Status == "FAILED" {
		return policy.Once
	}
	return row.After
}

// attemptFailed counts an attempt of a desktop that the cloud accepted and did not detach.
func attemptFailed(m *record.Move, row policy.VerdictRow, r policy.Look, job apiclient.SubJob, class tasks.Class) *tasks.Failure {
	m.Attempts++
	failure := &tasks.Failure{
		DesktopName: r.ComputerName, Code: row.Code, Message: r.Reason(row), Class: class, CallID: m.CallID,
		Attempts: m.Attempts, At: time.Now(),
	}
	if job.Status == "FAILED" {
		failure.Code = cmp.Or(job.Code, tasks.CodeUnknown)
		failure.Message = fmt.Sprintf("the cloud's job failed: %s (the desktop was then read as %s)", job.Reason, r.SeenBy())
	}
	return failure
}

// unconfirmed fails a desktop that was not confirmed in time.
func (f *follower) unconfirmed(m record.Move, name, why string, now time.Time) record.Move {
	m.To = tasks.StateFailed
	m.Failure = &tasks.Failure{
		DesktopName: name, Code: tasks.CodeUnconfirmed, Class: tasks.ClassAmbiguous, CallID: m.CallID, Attempts: m.Attempts, At: now,
		Message: fmt.Sprintf("the cloud accepted it, but after %s %s: look at the desktop in the console, then retry", f.cfg.ConfirmWithin, why),
	}
	return m
}
